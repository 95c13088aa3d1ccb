"""Unsupervised Data Augmentation (Xie et al., NeurIPS 2020): consistency between a weak and a strong view."""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batch import Batch
from pipeline.methods.method import Forward, Method
from pipeline.methods.phase import Measure, Phases, Update
from pipeline.methods.pseudo_label import remember


class UDAOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    weight: float = Field(8.0, ge=0, description="weight of the consistency loss after its ramp")
    temperature: float = Field(0.7, gt=0, description="sharpening of the target: softmax(logits / temperature)")
    threshold: float = Field(0.6, ge=0, le=1, description="least confidence of a sharpened target that counts")
    ramp: int = Field(5000, ge=0, description="steps over which the weight grows linearly from 0")


class UDA(Method):
    """Labeled cross-entropy plus weighted consistency."""

    sections = {"uda": UDAOptions}  # noqa: RUF012

    def step(self, step: int) -> Phases:
        yield Measure("pseudo-label", self.pseudo_label, tracks=True)
        yield Update("model", lambda batch: self.loss(step, batch))

    def pseudo_label(self, batch: Batch) -> None:
        remember(batch, self.networks["model"](batch.weak), "argmax")

    def loss(self, step: int, batch: Batch) -> Tensor:
        labeled, strong = forward_both(self.networks["model"], batch)
        loss = self.labeled_loss(labeled, batch.labels) + consistency(self.options["uda"], step, strong, batch)
        batch.report(loss=loss)
        return loss


def forward_both(network: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the logits of the labeled images and of the strong views, from one concatenated forward pass."""
    logits = network(torch.cat([batch.labeled, batch.strong]))
    return logits[: len(batch.labeled)], logits[len(batch.labeled) :]


def consistency(options: UDAOptions, step: int, strong_logits: Tensor, batch: Batch) -> Tensor:
    """Return the weighted consistency loss, a mean over all U samples whether they pass the threshold or not.

    The target is the remembered prediction on the weak view, sharpened; the threshold applies to the sharpened one.
    """
    target = (batch.memo["weak_logits"] / options.temperature).softmax(1)
    mask = (target.amax(1) >= options.threshold).to(target.dtype)
    loss = (F.cross_entropy(strong_logits, target, reduction="none") * mask).mean()
    batch.report(mask=mask.mean(), uda=loss)
    ramp = min(1.0, (step + 1) / options.ramp) if options.ramp else 1.0
    return options.weight * ramp * loss
