"""Unsupervised Data Augmentation (Xie et al., NeurIPS 2020): consistency between a weak and a strong view."""

from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.methods.method import Method, ramp
from pipeline.methods.phases import Measure, Phases, Update
from pipeline.methods.prediction import remember
from pipeline.options import Options
from pipeline.step_units import Length


class UDAOptions(Options):
    weight: float = Field(8.0, ge=0, description="weight of the consistency loss after its ramp")
    temperature: float = Field(0.7, gt=0, description="sharpening of the target: softmax(logits / temperature)")
    threshold: float = Field(0.6, ge=0, le=1, description="least confidence of a sharpened target that counts")
    ramp: Length = Field(5000, ge=0, description="steps over which the weight grows linearly from 0")
    distance: Literal["cross-entropy", "cosine"] = Field(
        "cross-entropy", description="between target and prediction; cosine is the negative cosine similarity"
    )


class UDA(Method):
    """Labeled cross-entropy plus weighted consistency."""

    sections = {"uda": UDAOptions}  # noqa: RUF012

    def step(self, step: int) -> Phases:
        yield Measure("pseudo-label", self.pseudo_label, tracks=True)
        yield Update("model", lambda batch: self.loss(step, batch))

    def pseudo_label(self, batch: Batch) -> None:
        remember(batch, self.networks["model"](batch.weak))

    def loss(self, step: int, batch: Batch) -> Tensor:
        labeled, strong = self.logits("model", batch.labeled, batch.strong)
        loss = self.labeled_loss(labeled, batch.labels) + consistency(self.options["uda"], step, strong, batch)
        batch.report(loss=loss)
        return loss


def consistency(options: UDAOptions, step: int, strong_logits: Tensor, batch: Batch) -> Tensor:
    """Return the weighted consistency loss, a mean over all U samples whether they pass the threshold or not.

    The target is the remembered prediction on the weak view, sharpened; the threshold applies to the sharpened one.
    """
    target = (batch.memo["weak_logits"] / options.temperature).softmax(1)
    mask = (target.amax(1) >= options.threshold).to(target.dtype)
    loss = (DISTANCES[options.distance](strong_logits, target) * mask).mean()
    batch.report(mask=mask.mean(), uda=loss)
    return options.weight * ramp(step, options.ramp) * loss


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, reduction="none")


def _negative_cosine(logits: Tensor, target: Tensor) -> Tensor:
    """Of the two distributions, [U] in -1..0; differentiable in the strong view's ``logits``."""
    return -F.cosine_similarity(logits.softmax(1), target, dim=1)


DISTANCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": _cross_entropy,
    "cosine": _negative_cosine,
}
