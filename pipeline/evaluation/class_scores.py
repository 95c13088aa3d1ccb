"""Score a model on a whole split, and count for each true class how often each class is predicted.

The results are an :class:`pipeline.evaluation.tables.Evaluation`.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn

from pipeline.distributed.world import World
from pipeline.evaluation.scoring import RunningScore, Samples, predict
from pipeline.evaluation.tables import Evaluation, Score
from pipeline.models.ensemble import Ensemble
from pipeline.models.view_average import TestViews
from pipeline.precision import Precision


def regroup(batches: Iterable[Samples], size: int | None) -> Iterator[Samples]:
    """Yield the samples of ``batches`` in batches of ``size``, of which the last may be smaller.

    If the size is None, the batches stay as they are.
    """
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


def evaluate_classes(
    network: nn.Module,
    batches: Iterable[Samples],
    classes: Sequence[str],
    world: World,
    precision: Precision,
    views: TestViews = "plain",
) -> Evaluation:
    """Score a network and, if it is an ensemble, each member; count the predicted classes for each true class.

    Images of unknown class (-1) are counted, but not scored. The logits are means over the ``views`` of each image.
    """
    members, count = list(network) if isinstance(network, Ensemble) else [], len(classes)
    scores = [RunningScore(world) for _ in range(1 + len(members))]
    confusion, unknown = torch.zeros(count * count, dtype=torch.int64, device=world.device), 0
    for outputs, labels in predict(network, batches, precision, views):
        for score, logits in zip(scores, outputs, strict=True):
            score.add(logits, labels)
        known = labels >= 0
        cells = labels[known] * count + outputs[0].argmax(1)[known]
        confusion += torch.bincount(cells, minlength=count * count)
        unknown += int((~known).sum())
    own, *others = (Score(**score.means()) for score in scores)
    matrix = confusion.view(count, count).cpu().numpy()
    return Evaluation(classes, own, dict(zip(members, others, strict=True)), matrix, unknown)


def _joined(parts: Sequence[Samples]) -> Samples:
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])
