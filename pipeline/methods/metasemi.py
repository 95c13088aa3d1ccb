"""MetaSemi (Zhang et al., AISTATS 2021): pseudo-labels that the gradient of the labeled loss corrects."""

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.data.sampling.stateless_rng import uniform
from pipeline.methods.feedback import unsmoothed_labeled_loss
from pipeline.methods.method import Method
from pipeline.methods.phases import Compute, Differentiate, Gradient, Phase, Phases, Shift, Update
from pipeline.methods.prediction import report_precision
from pipeline.options import Options

STEP_NORM = 0.01
"""Euclidean norm of the finite difference's step in weight space."""

Probabilities = Mapping[Batch, Tensor]
"""Class probabilities of the weak views, [U, classes], by micro-batch."""


class FiniteDifference(NamedTuple):
    """Predictions at two points beside the present weights theta, for v = grad L_l(theta) and eps = STEP_NORM / |v|."""

    eps: Tensor
    """The factor of v, a scalar."""
    ahead: Probabilities
    """The predictions at theta + eps v."""
    behind: Probabilities
    """The predictions at theta - eps v."""


class MetaSemiOptions(Options):
    correction: float = Field(1.0, ge=0, description="scale of the pseudo-labels' correction; 0 switches it off")
    alpha: float = Field(1.0, gt=0, description="mixup's Beta(alpha, alpha)")
    weight: float = Field(1.0, ge=0, description="weight of the consistency loss after its ramp")


class MetaSemi(Method):
    """Algorithm 1 of the paper, with its finite differences, and cross-domain mixup.

    The corrected label is

        p(theta) - rate * (p(theta + eps v) - p(theta - eps v)) / eps

    projected onto the simplex, for v = grad L_l(theta) and eps = 0.01 / |v|. Here p are the class probabilities of the
    weak view, and rate is the learning rate of the step times ``metasemi.correction``. Algorithm 1 itself steps to
    y - beta dL_l(theta - alpha grad D(y)) / dy at y = p(theta), where D is the mean of |p(theta) - y|^2 over the U
    samples. That is p - 2 rate J v, for the Jacobian J of p and rate = alpha beta / U: before the projection the label
    differs from it by O(eps^2). From p(theta - 2 rate v), the prediction after a labeled step, it differs by O(rate^2).
    """

    views = ("weak",)
    meta_weight = "metasemi.correction"
    sections = {"metasemi": MetaSemiOptions}  # noqa: RUF012

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.quantiles = beta_quantiles(self.options["metasemi"].alpha)

    def step(self, step: int) -> Phases:
        now = yield from self.predict("now")
        difference = (yield from self.finite_difference()) if self.options["metasemi"].correction else None
        labels: Probabilities = yield Compute("correct", lambda batch: self.correct(now[batch], difference, batch))
        yield Update("model", lambda batch: self.loss(step, labels[batch], batch))

    def finite_difference(self) -> Generator[Phase, Any, FiniteDifference]:
        """Return the predictions after a step of norm STEP_NORM along the labeled gradient, and after its opposite."""
        network = self.networks["model"]
        v: Gradient
        (v,) = yield Differentiate(
            "model", lambda batch: (unsmoothed_labeled_loss(network, batch),), eval_mode=True, full_precision=True
        )
        eps = STEP_NORM / v.norm().clamp(min=1e-12)
        ahead = yield from self.predict("ahead", Shift("model", eps * v))
        behind = yield from self.predict("behind", Shift("model", -eps * v))
        return FiniteDifference(eps, ahead, behind)

    def predict(self, name: str, at: Shift | None = None) -> Generator[Phase, Any, Probabilities]:
        """Return the probabilities of the weak views in evaluation mode and full precision, at shifted weights."""
        network = self.networks["model"]
        return (
            yield Compute(
                name, lambda batch: network(batch.weak).softmax(1), at=at, eval_mode=True, full_precision=True
            )
        )

    def correct(self, now: Tensor, difference: FiniteDifference | None, batch: Batch) -> Tensor:
        """Return the corrected labels [U, classes]; if the correction is switched off, they are ``now``."""
        labels = now
        if difference is not None:
            rate = self.options["metasemi"].correction * self.networks["model"].rate
            change = difference.ahead[batch] - difference.behind[batch]
            labels = project_to_simplex(now - rate * change / difference.eps)
        report_precision(batch, labels.argmax(1))
        return labels

    def loss(self, step: int, labels: Tensor, batch: Batch) -> Tensor:
        """Return the loss, the sum of two means over the U samples.

        The first is KL(mixed label || prediction on the mixed image), the second |p(weak view) - label|^2 times the
        weight and its ramp.
        """
        options = self.options["metasemi"]
        images, target = self.mix(labels, batch)
        mixed, own = self.logits("model", images, batch.weak.to(images.dtype))
        fit = F.kl_div(mixed.log_softmax(1), target.to(mixed.dtype), reduction="batchmean")
        distance = (own.softmax(1) - labels).square().sum(1).mean()
        loss = fit + options.weight * self.ramp(step) * distance
        batch.report(loss=loss, consistency=distance)
        return loss

    def mix(self, labels: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return images [U, C, H, W] and labels [U, classes], each lam * labeled + (1 - lam) * unlabeled.

        lam is drawn from Beta(alpha, alpha) for each sample; each labeled image is mixed with mu unlabeled ones.
        """
        self.quantiles = self.quantiles.to(batch.weak.device)  # copied once
        lam = interpolate_quantiles(self.quantiles, uniform(batch.key, batch.slots, 2)[:, 1])
        partners = len(batch.weak) // len(batch.labeled)
        images, classes = (tensor.repeat_interleave(partners, 0) for tensor in (batch.labeled, batch.labels))
        known = F.one_hot(classes, labels.shape[1])
        wide = lam.view(-1, *(1 for _ in batch.weak.shape[1:]))
        return wide * images + (1 - wide) * batch.weak, lam[:, None] * known + (1 - lam[:, None]) * labels


def project_to_simplex(scores: Tensor) -> Tensor:
    """Return ``scores`` [U, classes], whose rows add up to 1, with negative entries cut to 0 and rows renormalized."""
    positive = scores.relu()
    return positive / positive.sum(1, keepdim=True)


def beta_quantiles(alpha: float, points: int = 4097) -> Tensor:
    """Return the quantile function of Beta(alpha, alpha) at evenly spaced points of 0..1, float32 [points]."""
    from scipy.stats import beta  # noqa: PLC0415

    return torch.from_numpy(beta.ppf(np.linspace(0, 1, points), alpha, alpha)).float()


def interpolate_quantiles(quantiles: Tensor, chance: Tensor) -> Tensor:
    """Return samples [U] of the tabulated distribution: its quantiles, interpolated at ``chance`` [U] in [0, 1)."""
    place = chance * (len(quantiles) - 1)
    return torch.lerp(quantiles[place.long()], quantiles[place.long() + 1], place.frac())
