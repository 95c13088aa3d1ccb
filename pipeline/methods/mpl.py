"""Meta Pseudo Labels (Pham et al., CVPR 2021): the teacher learns from what its labels do to the student."""

from collections.abc import Generator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batch import Batch
from pipeline.methods.method import Method
from pipeline.methods.phase import Measure, Phase, Phases, Report, Update
from pipeline.methods.pseudo_label import remember
from pipeline.methods.uda import UDAOptions, consistency, forward_both


class MPLOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    weight: float = Field(1.0, ge=0, description="weight of h * CE(pseudo-label, teacher); 0 switches the term off")
    label: Literal["argmax", "sample"] = Field("argmax", description="how the teacher picks a hard label")
    baseline: bool = Field(False, description="subtract a moving average (decay 0.99) from h")
    student_wait: int = Field(0, ge=0, description="steps that the teacher trains alone at the beginning")


class MPL(Method):
    """The exact form: student and teacher share one hard label, and h = old - new labeled loss of the student.

    REINFORCE gives the teacher's gradient of the updated student's labeled loss as h times the gradient of the
    *sum* of CE(label, teacher) over the U unlabeled samples; here it is their mean, and ``mpl.weight`` absorbs 1 / U.
    """

    networks_needed = ("teacher", "student")
    evaluated = "student"
    meta_weight = "mpl.weight"
    sections = {"uda": UDAOptions, "mpl": MPLOptions}  # noqa: RUF012

    @classmethod
    def waits(cls, options: Mapping[str, Any]) -> dict[str, int]:
        return {"student": options["mpl"].student_wait}

    def step(self, step: int) -> Phases:
        yield Measure("pseudo-label", self.pseudo_label, tracks=True)
        feedback = None
        if step >= self.options["mpl"].student_wait:
            feedback = yield from self.teach_student()
        yield Update("teacher", lambda batch: self.teacher_loss(step, feedback, batch))

    def teach_student(self) -> Generator[Phase, Any, Tensor | None]:
        """Update the student; return h = old - new, or None if nothing asks for it."""
        if self.options["mpl"].weight == 0:
            yield Update("student", self.student_loss)
            return None
        old = yield Measure("labeled error", self.student_error)
        yield Update("student", self.student_loss)
        new = yield Measure("labeled error", self.student_error)
        yield Report({"h": old - new})
        return self.centered(old - new)

    def pseudo_label(self, batch: Batch) -> None:
        remember(batch, self.networks["teacher"](batch.weak), self.options["mpl"].label)

    def student_error(self, batch: Batch) -> Tensor:
        return self.labeled_error("student", batch)

    def student_loss(self, batch: Batch) -> Tensor:
        loss = F.cross_entropy(self.networks["student"](batch.strong), batch.memo["label"])
        batch.report(student_loss=loss)
        return loss

    def teacher_loss(self, step: int, feedback: Tensor | None, batch: Batch) -> Tensor:
        labeled, strong = forward_both(self.networks["teacher"], batch)
        loss = self.labeled_loss(labeled, batch.labels) + consistency(self.options["uda"], step, strong, batch)
        if feedback is not None:
            loss = loss + self.options["mpl"].weight * feedback * F.cross_entropy(strong, batch.memo["label"])
        batch.report(loss=loss)
        return loss

    def centered(self, feedback: Tensor) -> Tensor:
        """Subtract the baseline m from h, then move it: m <- 0.99 m + 0.01 h."""
        if not self.options["mpl"].baseline:
            return feedback
        mean = self.state.get("baseline", feedback.new_zeros(()))
        self.state["baseline"] = 0.99 * mean + 0.01 * feedback
        return feedback - mean
