"""The outputs of a model on a whole split, and what it confuses."""

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.evaluation.tables import Evaluation, Score
from pipeline.models.ensemble import Ensemble
from pipeline.precision import Precision

Samples = tuple[Tensor, Tensor]
"""Images [B, C, H, W] and labels int64 [B]."""


def regroup(batches: Iterable[Samples], size: int | None) -> Iterator[Samples]:
    """Yield the samples of ``batches`` in batches of ``size``, the last one smaller; as they come if that is None."""
    held: list[Samples] = []
    for images, labels in batches:
        start, count = 0, sum(len(labels) for _, labels in held)
        while size and count + len(labels) - start >= size:
            stop = start + size - count
            yield _joined([*held, (images[start:stop], labels[start:stop])])
            held, start, count = [], stop, 0
        if size is None:
            yield images, labels
        elif start < len(labels):
            held.append((images[start:], labels[start:]))
    if held:
        yield _joined(held)


@torch.no_grad()
def evaluate(
    network: nn.Module, batches: Iterable[Samples], classes: Sequence[str], precision: Precision
) -> Evaluation:
    """Score a network in evaluation mode; images without a known class (-1) are counted apart.

    The sums are those of :func:`pipeline.evaluation.scoring.evaluate`, and so are their last bits.
    """
    device, count, members = precision.device, len(classes), _members(network)
    totals = torch.zeros(1 + len(members), 2, dtype=torch.float64, device=device)
    confusion, unknown = torch.zeros(count * count, dtype=torch.int64, device=device), 0
    for images, labels in batches:
        with precision.autocast():
            outputs = _outputs(network, images)
        for row, logits in zip(totals, outputs, strict=True):
            row[0] += (logits.argmax(1) == labels).sum()
            row[1] += F.cross_entropy(logits.float(), labels, reduction="sum", ignore_index=-1)
        known = labels >= 0
        places = labels[known] * count + outputs[0].argmax(1)[known]
        confusion += torch.bincount(places, minlength=count * count)
        unknown += int((~known).sum())
    means = (totals / max(1, int(confusion.sum()))).tolist()
    score, *alone = (Score(100 * right, loss) for right, loss in means)
    matrix = confusion.view(count, count).cpu().numpy()
    return Evaluation(classes, score, dict(zip(members, alone, strict=True)), matrix, unknown)


def _members(network: nn.Module) -> list[str]:
    return list(network) if isinstance(network, Ensemble) else []


def _outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the network's logits [B, classes] and, of an ensemble, then each member's; no member runs twice."""
    if not isinstance(network, Ensemble):
        return [network(images)]
    members = [member(images) for member in network.values()]
    return [torch.stack(members).mean(0), *members]


def _joined(parts: Sequence[Samples]) -> Samples:
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])
