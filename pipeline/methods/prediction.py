"""A network's predictions on weak views, kept in a batch's memo for the phases that follow."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.data.sampling.stateless_rng import uniform

Choice = Literal["argmax", "sample"]


def remember(batch: Batch, weak_logits: Tensor, choice: Choice = "argmax") -> None:
    """Keep ``weak_logits`` [U, classes] and one hard label a sample [U] in the memo.

    ``"sample"`` draws the label from the predicted distribution, which makes the meta-gradient of Meta Pseudo Labels
    unbiased. Reports the precision against the hidden truth, of samples that have one.
    """
    label = weak_logits.argmax(1) if choice == "argmax" else _sample(weak_logits, uniform(batch.key, batch.slots, 1))
    batch.memo |= {"weak_logits": weak_logits, "label": label}
    report_precision(batch, label)


def report_precision(batch: Batch, label: Tensor) -> None:
    known = batch.truth >= 0
    right = ((label == batch.truth) & known).sum()
    batch.report(pseudo_precision=right / known.sum().clamp(min=1))


def confident_loss(logits: Tensor, label: Tensor, confidence: Tensor, threshold: float, batch: Batch) -> Tensor:
    """Return CE against hard labels [U] of at least ``threshold`` confidence [U], a mean over all U samples."""
    mask = (confidence >= threshold).to(logits.dtype)
    batch.report(mask=mask.mean())
    return (F.cross_entropy(logits, label, reduction="none") * mask).mean()


def _sample(logits: Tensor, chance: Tensor) -> Tensor:
    """Return classes drawn by the inverse of the cumulative distribution; ``chance`` [U, 1] is uniform in [0, 1)."""
    cumulative = logits.softmax(1).cumsum(1)
    return (cumulative <= chance).sum(1).clamp(max=logits.shape[1] - 1)
