"""Pseudo-labels: a network's predictions on weak views, and the losses and metrics that are made from them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.data.sampling.stateless_rng import uniform


class WeakPrediction(NamedTuple):
    """What a network predicts on the weak views of a micro-batch, without a graph."""

    logits: Tensor
    """The logits on the weak views, [U, classes]."""
    labels: Tensor
    """One hard pseudo-label for each sample, int64 [U]."""


Predictions = Mapping[Batch, WeakPrediction]
"""The predictions of a step by micro-batch, as :class:`pipeline.methods.phases.Compute` returns them."""


def label_weak_views(batch: Batch, weak_logits: Tensor) -> WeakPrediction:
    """Return ``weak_logits`` [U, classes] with the most probable class of each sample, and log their precision."""
    labels = weak_logits.argmax(1)
    report_precision(batch, labels)
    return WeakPrediction(weak_logits, labels)


def _distribution(_: Batch, logits: Tensor) -> Tensor:
    return logits.softmax(1)


def sample_labels(batch: Batch, logits: Tensor) -> Tensor:
    """Return one class for each sample, int64 [U], drawn from softmax(``logits`` [U, classes]); log their precision."""
    labels = _sample(logits, uniform(batch.key, batch.slots, 1))
    report_precision(batch, labels)
    return labels


def report_precision(batch: Batch, labels: Tensor) -> None:
    """Log the share of pseudo-labels, int64 [U], that are right, among the samples whose true class is known."""
    known = batch.truth >= 0
    right = ((labels == batch.truth) & known).sum()
    batch.report(pseudo_precision=right / known.sum().clamp(min=1))


def confident_loss(logits: Tensor, labels: Tensor, confidence: Tensor, threshold: float, batch: Batch) -> Tensor:
    """Return the cross-entropy of ``logits`` [U, classes] on those of the hard ``labels`` [U] that are confident.

    A label is confident if its ``confidence`` [U] is at least ``threshold``. The loss is a mean over all U samples; the
    others contribute 0.
    """
    mask = (confidence >= threshold).to(logits.dtype)
    batch.report(mask=mask.mean())
    return (F.cross_entropy(logits, labels, reduction="none") * mask).mean()


def _sample(logits: Tensor, chance: Tensor) -> Tensor:
    """Return classes, int64 [U], by inverse transform sampling; ``chance`` [U, 1] is uniform in [0, 1)."""
    cumulative = logits.softmax(1).cumsum(1)
    return (cumulative <= chance).sum(1).clamp(max=logits.shape[1] - 1)


STRONG_LABELS: Mapping[str, Callable[[Batch, Tensor], Tensor]] = {"sample": sample_labels, "soft": _distribution}
"""How labels are made from a teacher's logits [U, classes] on the strong views, by ``mpl.label_mode``."""
