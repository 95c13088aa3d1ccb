"""Self Meta Pseudo Labels (Ng, Pun and Lin, 2022): one network, two gradient steps a batch."""

from collections.abc import Generator, Mapping
from typing import Any, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.methods.method import Method
from pipeline.methods.phases import Apply, Differentiate, Measure, Phase, Phases, Report, Update
from pipeline.methods.prediction import remember
from pipeline.methods.uda import UDAOptions, consistency
from pipeline.options import Options


class SMPLOptions(Options):
    form: Literal["recompute", "shared-graph"] = Field(
        "recompute", description="whether the second step's gradient is taken at the new or at the old weights"
    )
    weight: float = Field(1.0, ge=0, description="weight of h * CE(pseudo-label, strong view); 0 switches the term off")
    inner_lr: float | None = Field(None, ge=0, description="rate of the first step; the optimizer's if absent")


class SMPL(Method):
    """Step 1 descends on pseudo-labels; step 2 learns from labels, consistency, and what step 1 did to the labels.

    Pseudo-labels and UDA's targets are one prediction a batch, at the weights before step 1, in both forms.
    ``recompute`` takes both gradients where the formulas say. ``shared-graph`` takes both at the weights before step 1,
    from one forward pass: CE(pseudo-label, strong view) is the loss of step 1, so the gradient of step 2 is that of
    the remaining losses plus weight * h times that of step 1, and no graph outlives a parameter's change.
    """

    meta_weight = "smpl.weight"
    sections = {"uda": UDAOptions, "smpl": SMPLOptions}  # noqa: RUF012

    @classmethod
    def inner_rates(cls, options: Mapping[str, Any]) -> dict[str, float]:
        rate = options["smpl"].inner_lr
        return {} if rate is None else {"model": rate}

    def step(self, step: int) -> Phases:
        yield Measure("pseudo-label", self.pseudo_label, tracks=True)
        yield from self.recompute(step) if self.options["smpl"].form == "recompute" else self.shared_graph(step)

    def recompute(self, step: int) -> Phases:
        before = yield from self.error()
        yield Update("model", self.pseudo_loss, "descent")
        after = yield from self.error()
        feedback = yield from self.feedback(before, after)
        yield Update("model", lambda batch: self.second_loss(step, feedback, batch))

    def shared_graph(self, step: int) -> Phases:
        before = yield from self.error()
        gradients = yield Differentiate("model", lambda batch: self.both_losses(step, batch))
        yield Apply("model", gradients["pseudo"], "descent")
        after = yield from self.error()
        feedback = yield from self.feedback(before, after)
        second = gradients["rest"]
        if feedback is not None:
            second = second + self.options["smpl"].weight * feedback * gradients["pseudo"]
        yield Apply("model", second)

    def error(self) -> Generator[Phase, Any, Tensor | None]:
        """Return the labeled error at the weights of this moment, or None if the meta term is off."""
        if self.options["smpl"].weight == 0:
            return None
        return (yield Measure("labeled error", lambda batch: self.labeled_error("model", batch)))

    def feedback(self, before: Tensor | None, after: Tensor | None) -> Generator[Phase, Any, Tensor | None]:
        if before is None or after is None:
            return None
        yield Report({"h": before - after})
        return before - after

    def pseudo_label(self, batch: Batch) -> None:
        remember(batch, self.networks["model"](batch.weak))

    def pseudo_loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.networks["model"](batch.strong), batch.memo["label"])

    def second_loss(self, step: int, feedback: Tensor | None, batch: Batch) -> Tensor:
        losses = self.both_losses(step, batch)
        if feedback is None:
            return losses["rest"]
        return losses["rest"] + self.options["smpl"].weight * feedback * losses["pseudo"]

    def both_losses(self, step: int, batch: Batch) -> dict[str, Tensor]:
        labeled, strong = self.logits("model", batch.labeled, batch.strong)
        rest = self.labeled_loss(labeled, batch.labels) + consistency(self.options["uda"], step, strong, batch)
        batch.report(loss=rest)
        return {"pseudo": F.cross_entropy(strong, batch.memo["label"]), "rest": rest}
