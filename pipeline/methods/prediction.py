"""Pseudo-labels: a network's predictions on weak views, and the losses and metrics that are made from them."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.data.sampling.stateless_rng import uniform

LabelRule = Literal["argmax", "sample"]


class WeakPrediction(NamedTuple):
    """What a network predicts on the weak views of a micro-batch, without a graph."""

    logits: Tensor
    """The logits on the weak views, [U, classes]."""
    labels: Tensor
    """One hard pseudo-label for each sample, int64 [U]."""


Predictions = Mapping[Batch, WeakPrediction]
"""The predictions of a step by micro-batch, as :class:`pipeline.methods.phases.Compute` returns them."""


def label_weak_views(batch: Batch, weak_logits: Tensor, rule: LabelRule = "argmax") -> WeakPrediction:
    """Return ``weak_logits`` [U, classes] with one hard label for each sample, and log the precision of the labels.

    ``"sample"`` draws each label from the predicted distribution, which makes the meta-gradient of Meta Pseudo Labels
    unbiased (Pham et al., CVPR 2021, Appendix A). ``"argmax"`` takes the most probable class, as published code does.
    """
    labels = weak_logits.argmax(1) if rule == "argmax" else _sample(weak_logits, uniform(batch.key, batch.slots, 1))
    report_precision(batch, labels)
    return WeakPrediction(weak_logits, labels)


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
