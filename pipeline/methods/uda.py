"""Unsupervised Data Augmentation (Xie et al., NeurIPS 2020): consistency between a weak and a strong view."""

from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.methods.method import Method
from pipeline.methods.phases import Compute, Phases, Update
from pipeline.methods.prediction import Predictions, WeakPrediction, label_weak_views
from pipeline.options import Options


class UDAOptions(Options):
    weight: float = Field(8.0, ge=0, description="weight of the consistency loss after its ramp")
    temperature: float = Field(0.7, gt=0, description="sharpening of the target: softmax(logits / temperature)")
    threshold: float = Field(0.6, ge=0, le=1, description="least confidence of a sharpened target that counts")
    distance: Literal["cross-entropy", "cosine"] = Field(
        "cross-entropy", description="between target and prediction; cosine is the negative cosine similarity"
    )


class UDA(Method):
    """Labeled cross-entropy plus weighted consistency.

    This is equation 1 of the paper, with the sharpening and the confidence mask of its section 2.4.
    """

    sections = {"uda": UDAOptions}  # noqa: RUF012

    def step(self, step: int) -> Phases:
        predictions: Predictions = yield Compute("pseudo-label", self.pseudo_label, track_running_stats=True)
        yield Update("model", lambda batch: self.loss(step, predictions[batch], batch))

    def pseudo_label(self, batch: Batch) -> WeakPrediction:
        return label_weak_views(batch, self.networks["model"](batch.weak))

    def loss(self, step: int, prediction: WeakPrediction, batch: Batch) -> Tensor:
        labeled, strong = self.logits("model", batch.labeled, batch.strong)
        unlabeled = consistency(self.options["uda"], self.ramp(step), strong, prediction.logits, batch)
        loss = self.labeled_loss(labeled, batch.labels) + unlabeled
        batch.report(loss=loss)
        return loss


def consistency(options: UDAOptions, ramp: float, strong_logits: Tensor, weak_logits: Tensor, batch: Batch) -> Tensor:
    """Return the weighted consistency loss, a mean over all U samples whether they pass the threshold or not.

        q = softmax(weak_logits / temperature);  weight * ramp * mean 1[max q >= threshold] distance(q, strong_logits)

    Args:
        options: the options of the section ``uda``.
        ramp: factor of the weight in this step, 0..1; see :meth:`pipeline.methods.method.Method.ramp`.
        strong_logits: [U, classes], with a graph.
        weak_logits: [U, classes], without a graph.
        batch: the micro-batch, which logs the share of samples that pass and the loss without its weight.
    """
    target = (weak_logits / options.temperature).softmax(1)
    mask = (target.amax(1) >= options.threshold).to(target.dtype)
    loss = (DISTANCES[options.distance](strong_logits, target) * mask).mean()
    batch.report(mask=mask.mean(), uda=loss)
    return options.weight * ramp * loss


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, reduction="none")


def _negative_cosine(logits: Tensor, target: Tensor) -> Tensor:
    """Return the negative cosine similarity of the two distributions, [U] in -1..0, as a function of ``logits``."""
    return -F.cosine_similarity(logits.softmax(1), target, dim=1)


DISTANCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": _cross_entropy,
    "cosine": _negative_cosine,
}
"""The functions by ``uda.distance``: from logits and target probabilities [U, classes] to a distance per sample [U]."""
