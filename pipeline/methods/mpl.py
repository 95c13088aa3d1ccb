"""Meta Pseudo Labels (Pham et al., CVPR 2021): the teacher learns from what its labels do to the student."""

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.methods.method import Method
from pipeline.methods.mpl_loss import CREDITS
from pipeline.methods.mpl_options import MPLOptions
from pipeline.methods.phases import Differentiate, Gradient, Measure, Phase, Phases, Report, Shift, Update
from pipeline.methods.prediction import remember
from pipeline.methods.uda import UDAOptions, consistency

Term = Callable[[Batch, Tensor], Tensor]
"""The meta term of the teacher's loss, from a micro-batch and the teacher's logits of its strong views."""


class MPL(Method):
    """The teacher's loss is that of UDA and a meta term, whose form ``mpl.mode`` names.

    ``exact``: REINFORCE gives the teacher's gradient of the updated student's labeled loss as h times the gradient of
    the *sum* of CE(label, teacher) over the U unlabeled samples; here it is their mean, and ``mpl.weight`` absorbs
    1 / U. ``unrolled`` is the gradient itself, for soft labels and a student that descends plainly, without that 1 / U.
    """

    networks_needed = ("teacher", "student")
    evaluated: ClassVar[tuple[str, ...]] = ("student",)
    meta_weight = "mpl.weight"
    sections = {"uda": UDAOptions, "mpl": MPLOptions}  # noqa: RUF012

    @classmethod
    def waits(cls, options: Mapping[str, Any]) -> dict[str, int]:
        return {"student": options["mpl"].student_wait}

    @classmethod
    def slopes(cls, options: Mapping[str, Any]) -> Iterable[str]:
        return cls.networks_needed if options["mpl"].mode == "unrolled" and options["mpl"].weight else ()

    def roles(self, step: int) -> tuple[str, str]:  # noqa: ARG002
        """Return the networks that are teacher and student in ``step``."""
        return "teacher", "student"

    def alone(self, step: int) -> bool:
        """Return whether the teacher trains alone in ``step``."""
        return step < int(self.options["mpl"].student_wait)

    def step(self, step: int) -> Phases:
        teacher, student = self.roles(step)
        yield Measure("pseudo-label", lambda batch: self.pseudo_label(teacher, batch), tracks=True)
        term = None if self.alone(step) else (yield from self.teach(teacher, student))
        yield Update(teacher, lambda batch: self.teacher_loss(step, teacher, term, batch), noise="teacher")

    def teach(self, teacher: str, student: str) -> Generator[Phase, Any, Term | None]:
        """Update the student; return the meta term, or None where it is switched off."""
        options: MPLOptions = self.options["mpl"]
        if options.choices.label_mode == "soft":
            yield Measure("teacher", lambda batch: self.soft_label(teacher, batch))
        if options.mode == "unrolled" and options.weight:
            return (yield from self.unrolled(student))
        before = (yield self.error(student)) if options.weight else None
        moved = yield Update(student, lambda batch: self.student_loss(student, batch))
        if before is None:
            return None
        return (yield from self.reinforced(before, (yield self.error(student)), moved))

    def reinforced(self, before: Tensor, after: Tensor, moved: Tensor) -> Generator[Phase, Any, Term]:
        """Return feedback times the teacher's cross-entropy, of the labeled errors around the student's update.

        Labels that did not move the student teach nothing.
        """
        choices, weight = self.options["mpl"].choices, self.options["mpl"].weight
        feedback = torch.where(moved, before - after if choices.feedback_sign == "old-new" else after - before, 0)
        yield Report({"h": feedback})
        centered = self.centered(feedback, moved) if choices.baseline else feedback
        credit = CREDITS[choices.label_mode]
        return lambda batch, strong: weight * centered * credit(strong, batch.memo["label"])

    def unrolled(self, student: str) -> Generator[Phase, Any, Term]:
        """Return the term whose gradient is that of L_l(theta - rate * grad L_u(theta)), in soft labels q.

        L_u is linear in q, so the chain rule leaves -rate times the derivative of L_u along v = grad L_l(theta'), which
        is the derivative of the student's log-probabilities along v, weighted by q: a forward-mode derivative without a
        graph of second order.
        """
        weight, rate = self.options["mpl"].weight, self.networks[student].rate
        inner = yield from self.gradient(student, lambda batch: self.student_loss(student, batch), None)
        after = Shift(student, -rate * inner)
        outer = yield from self.gradient(student, lambda batch: self.labeled_error(student, batch), after)
        yield Measure(f"{student} losses", lambda batch: self.foresee(student, outer, batch), exact=True)
        moved = yield Update(student, lambda batch: self.student_loss(student, batch))
        yield Report({"h": torch.where(moved, rate * inner.dot(outer), 0)})

        def term(batch: Batch, strong: Tensor) -> Tensor:
            return weight * rate * (strong.softmax(1) * torch.where(moved, batch.memo["slope"], 0)).sum(1).mean()

        return term

    def gradient(
        self, network: str, loss: Callable[[Batch], Tensor], at: Shift | None
    ) -> Generator[Phase, Any, Gradient]:
        answer = yield Differentiate(network, lambda batch: {"loss": loss(batch)}, at=at, exact=True)
        gradient: Gradient = answer["loss"]
        return gradient

    def error(self, student: str) -> Measure:
        return Measure("labeled error", lambda batch: self.labeled_error(student, batch))

    def pseudo_label(self, teacher: str, batch: Batch) -> None:
        sampled = self.options["mpl"].choices.label_mode == "sample"
        remember(batch, self.networks[teacher](batch.weak), "sample" if sampled else "argmax")

    def soft_label(self, teacher: str, batch: Batch) -> None:
        batch.memo["label"] = self.logits(teacher, batch.labeled, batch.strong)[1].softmax(1)

    def foresee(self, student: str, direction: Gradient, batch: Batch) -> None:
        """Keep the derivative of the student's log-probabilities along ``direction``, [U, classes]."""
        logits, slope = self.networks[student].slope(batch.strong, direction)
        batch.memo["slope"] = slope - (logits.softmax(1) * slope).sum(1, keepdim=True)

    def student_loss(self, student: str, batch: Batch) -> Tensor:
        smoothing = self.label_smoothing if self.options["mpl"].choices.smooth_student else 0.0
        logits = self.networks[student](batch.strong)
        loss = F.cross_entropy(logits, batch.memo["label"], label_smoothing=smoothing)
        batch.report(student_loss=loss)
        return loss

    def teacher_loss(self, step: int, teacher: str, term: Term | None, batch: Batch) -> Tensor:
        labeled, strong = self.logits(teacher, batch.labeled, batch.strong)
        loss = self.labeled_loss(labeled, batch.labels) + consistency(self.options["uda"], step, strong, batch)
        if term is not None:
            loss = loss + term(batch, strong)
        batch.report(loss=loss)
        return loss

    def centered(self, feedback: Tensor, moved: Tensor) -> Tensor:
        """Subtract the baseline m from h, then move it: m <- 0.99 m + 0.01 h; neither where the student stood still."""
        mean = self.state.get("baseline", feedback.new_zeros(()))
        self.state["baseline"] = torch.where(moved, 0.99 * mean + 0.01 * feedback, mean)
        return torch.where(moved, feedback - mean, 0)
