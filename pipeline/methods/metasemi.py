"""MetaSemi (Zhang et al., AISTATS 2021): pseudo-labels corrected by what a labeled step would make of them."""

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.data.sampling.stateless_rng import uniform
from pipeline.methods.method import Method, ramp
from pipeline.methods.phases import Differentiate, Gradient, Measure, Phase, Phases, Shift, Update
from pipeline.methods.prediction import report_precision
from pipeline.options import Options
from pipeline.step_units import Length

REACH = 0.01
"""Length of the finite difference's step in the space of weights."""


class MetaSemiOptions(Options):
    correction: float = Field(1.0, ge=0, description="scale of the pseudo-labels' correction; 0 switches it off")
    alpha: float = Field(1.0, gt=0, description="mixup's Beta(alpha, alpha)")
    weight: float = Field(1.0, ge=0, description="weight of the consistency loss after its ramp")
    ramp: Length = Field(4000, ge=0, description="steps over which that weight grows linearly from 0")


class MetaSemi(Method):
    """Algorithm 1 of the paper, with its finite differences, and cross-domain mixup.

    The corrected label is p(theta) - rate * (p(theta + eps v) - p(theta - eps v)) / eps, put back on the simplex, for
    v = grad L_l(theta) and eps = 0.01 / |v|: within O(eps^2) of p(theta - 2 rate v). Each unlabeled image is mixed with
    a labeled one of its step; with mu > 1 a labeled image has mu partners.
    """

    views = ("weak",)
    meta_weight = "metasemi.correction"
    sections = {"metasemi": MetaSemiOptions}  # noqa: RUF012

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.quantiles = beta_quantiles(self.options["metasemi"].alpha)

    def step(self, step: int) -> Phases:
        yield from self.predict("now", None)
        reach = (yield from self.foresee()) if self.options["metasemi"].correction else None
        yield Measure("correct", lambda batch: self.correct(reach, batch))
        yield Update("model", lambda batch: self.loss(step, batch))

    def foresee(self) -> Generator[Phase, Any, Tensor]:
        """Leave in each memo the predictions a step of eps along the labeled gradient away; return that eps."""
        answer = yield Differentiate("model", lambda batch: {"v": self.error(batch)}, evaluating=True, exact=True)
        v: Gradient = answer["v"]
        reach = REACH / v.norm().clamp(min=1e-12)
        yield from self.predict("ahead", Shift("model", reach * v))
        yield from self.predict("behind", Shift("model", -reach * v))
        return reach

    def predict(self, name: str, at: Shift | None) -> Generator[Phase, Any, None]:
        def keep(batch: Batch) -> None:
            batch.memo[name] = self.networks["model"](batch.weak).softmax(1)

        yield Measure(name, keep, at=at, evaluating=True, exact=True)

    def error(self, batch: Batch) -> Tensor:
        return self.labeled_error("model", batch)

    def correct(self, reach: Tensor | None, batch: Batch) -> None:
        label = batch.memo["now"]
        if reach is not None:
            rate = self.options["metasemi"].correction * self.networks["model"].rate
            label = project(label - rate * (batch.memo["ahead"] - batch.memo["behind"]) / reach)
        report_precision(batch, label.argmax(1))
        batch.memo["label"] = label

    def loss(self, step: int, batch: Batch) -> Tensor:
        """KL(mixed label || mixed image) + ramped |p(x_u) - label|^2, both means over the U samples."""
        options, label = self.options["metasemi"], batch.memo["label"]
        images, target = self.mix(batch)
        mixed, own = self.logits("model", images, batch.weak.to(images.dtype))
        fit = F.kl_div(mixed.log_softmax(1), target.to(mixed.dtype), reduction="batchmean")
        distance = (own.softmax(1) - label).square().sum(1).mean()
        loss = fit + options.weight * ramp(step, options.ramp) * distance
        batch.report(loss=loss, consistency=distance)
        return loss

    def mix(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return images [U, C, H, W] and labels [U, classes], each lam * labeled + (1 - lam) * unlabeled."""
        self.quantiles = self.quantiles.to(batch.weak.device)  # once
        lam = look_up(self.quantiles, uniform(batch.key, batch.slots, 2)[:, 1])
        partners = len(batch.weak) // len(batch.labeled)
        label = batch.memo["label"]
        images, labels = (tensor.repeat_interleave(partners, 0) for tensor in (batch.labeled, batch.labels))
        known = F.one_hot(labels, label.shape[1])
        wide = lam.view(-1, *(1 for _ in batch.weak.shape[1:]))
        return wide * images + (1 - wide) * batch.weak, lam[:, None] * known + (1 - lam[:, None]) * label


def project(scores: Tensor) -> Tensor:
    """Return ``scores`` [U, classes], whose rows add up to 1, on the simplex: what is negative cut, then divided."""
    positive = scores.relu()
    return positive / positive.sum(1, keepdim=True)


def beta_quantiles(alpha: float, points: int = 4097) -> Tensor:
    """Return the inverse of the distribution function of Beta(alpha, alpha) at even steps of 0..1, float32."""
    from scipy.stats import beta  # noqa: PLC0415

    return torch.from_numpy(beta.ppf(np.linspace(0, 1, points), alpha, alpha)).float()


def look_up(quantiles: Tensor, chance: Tensor) -> Tensor:
    """Return samples [U] of the tabulated distribution for ``chance`` [U] in [0, 1), linear between its points."""
    place = chance * (len(quantiles) - 1)
    return torch.lerp(quantiles[place.long()], quantiles[place.long() + 1], place.frac())
