"""Self Meta Pseudo Labels (Ng and Wang, 2022, arXiv 2212.13420): one network, two gradient steps for each batch."""

from collections.abc import Generator, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.methods.feedback import feedback, measure_labeled_loss
from pipeline.methods.method import Method
from pipeline.methods.phases import Apply, Compute, Differentiate, Phase, Phases, Report, Update
from pipeline.methods.prediction import Predictions, WeakPrediction, label_weak_views
from pipeline.methods.uda import UDAOptions, consistency
from pipeline.options import Options


class SMPLOptions(Options):
    form: Literal["recompute", "shared-graph"] = Field(
        "recompute", description="whether the gradient of step 2 is taken at the new (recompute) or the old weights"
    )
    weight: float = Field(1.0, ge=0, description="weight of h * CE(pseudo-label, strong view); 0 switches the term off")
    inner_lr: float | None = Field(None, ge=0, description="learning rate of step 1; the optimizer's if absent")


class Losses(NamedTuple):
    """The losses of one forward pass, from which the gradients of both steps are computed."""

    pseudo_label: Tensor
    """CE(pseudo-label, strong view): the loss of step 1."""
    uda: Tensor
    """Labeled cross-entropy plus weighted consistency: the loss of step 2 without its meta term."""


class SMPL(Method):
    """Step 1 descends on pseudo-labels; step 2 learns from labels, consistency and the effect of step 1.

        step 1:  theta'  = theta - eta * grad CE(label, strong view)
        step 2:  theta'' = optimizer step from theta' on  UDA loss + weight * h * CE(label, strong view)

    with h = L_l(theta) - L_l(theta') of :mod:`pipeline.methods.feedback`. The labels and UDA's targets come from one
    prediction at theta, in both forms. The form ``recompute`` takes each gradient at the weights that the formulas
    name: that of step 1 at theta, that of step 2 at theta'. ``shared-graph`` takes both at theta, from one forward
    pass, as the authors' library does. CE(label, strong view) is the loss of step 1, so the gradient of step 2 is that
    of the UDA loss plus weight * h times that of step 1, and both are computed before the weights change.
    """

    meta_weight = "smpl.weight"
    sections = {"uda": UDAOptions, "smpl": SMPLOptions}  # noqa: RUF012

    @classmethod
    def inner_rates(cls, options: Mapping[str, Any]) -> dict[str, float]:
        rate = options["smpl"].inner_lr
        return {} if rate is None else {"model": rate}

    def step(self, step: int) -> Phases:
        predictions: Predictions = yield Compute("pseudo-label", self.pseudo_label, track_running_stats=True)
        form = self.recompute if self.options["smpl"].form == "recompute" else self.shared_graph
        yield from form(step, predictions)

    def recompute(self, step: int, predictions: Predictions) -> Phases:
        before = yield from self.labeled_loss_now()
        yield Update("model", lambda batch: self.pseudo_label_loss(predictions[batch], batch), "descent")
        after = yield from self.labeled_loss_now()
        h = yield from self.report_feedback(before, after)
        yield Update("model", lambda batch: self.second_loss(step, h, predictions[batch], batch))

    def shared_graph(self, step: int, predictions: Predictions) -> Phases:
        before = yield from self.labeled_loss_now()
        pseudo_label, second = yield Differentiate("model", lambda batch: self.losses(step, predictions[batch], batch))
        yield Apply("model", pseudo_label, "descent")
        after = yield from self.labeled_loss_now()
        h = yield from self.report_feedback(before, after)
        if h is not None:
            second = second + self.options["smpl"].weight * h * pseudo_label
        yield Apply("model", second)

    def labeled_loss_now(self) -> Generator[Phase, Any, Tensor | None]:
        """Return L_l at the present weights, or None if the meta term is switched off."""
        if self.options["smpl"].weight == 0:
            return None
        return (yield measure_labeled_loss(self.networks["model"]))

    def report_feedback(self, before: Tensor | None, after: Tensor | None) -> Generator[Phase, Any, Tensor | None]:
        """Return h and log it, or return None if the meta term is switched off."""
        if before is None or after is None:
            return None
        h = feedback(before, after)
        yield Report({"h": h})
        return h

    def pseudo_label(self, batch: Batch) -> WeakPrediction:
        return label_weak_views(batch, self.networks["model"](batch.weak))

    def pseudo_label_loss(self, prediction: WeakPrediction, batch: Batch) -> Tensor:
        return F.cross_entropy(self.networks["model"](batch.strong), prediction.labels)

    def second_loss(self, step: int, h: Tensor | None, prediction: WeakPrediction, batch: Batch) -> Tensor:
        losses = self.losses(step, prediction, batch)
        return losses.uda if h is None else losses.uda + self.options["smpl"].weight * h * losses.pseudo_label

    def losses(self, step: int, prediction: WeakPrediction, batch: Batch) -> Losses:
        labeled, strong = self.logits("model", batch.labeled, batch.strong)
        unlabeled = consistency(self.options["uda"], self.ramp(step), strong, prediction.logits, batch)
        loss = self.labeled_loss(labeled, batch.labels) + unlabeled
        batch.report(loss=loss)
        return Losses(F.cross_entropy(strong, prediction.labels), loss)
