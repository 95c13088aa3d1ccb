"""Meta Pseudo Labels (Pham et al., CVPR 2021): the teacher learns from the effect of its labels on the student."""

from collections.abc import Generator, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.methods.feedback import FEEDBACK_STEPS, TEACHER_LOSSES, MetaTerm, feedback, subtract_baseline
from pipeline.methods.method import Method, Model
from pipeline.methods.mpl_options import MPLOptions
from pipeline.methods.mpl_unrolled import unrolled_term
from pipeline.methods.phases import Compute, Phase, Phases, Report, Update
from pipeline.methods.prediction import STRONG_LABELS, Predictions, WeakPrediction, label_weak_views
from pipeline.methods.uda import UDAOptions, consistency

Labels = Mapping[Batch, Tensor]
"""The student's targets by micro-batch: int64 [U] if hard, float [U, classes] if soft."""


class MPL(Method):
    """Two networks: the student learns from the teacher's pseudo-labels, the teacher from UDA's loss and a meta term.

    This is Algorithm 1 of the paper. The meta term lowers the labeled loss L_l(theta') of the updated student, as a
    function of the teacher's weights. ``mpl.mode`` chooses how its gradient is computed:

    * ``exact`` estimates it by REINFORCE: it is h times the gradient of the *sum* of CE(label, teacher) over the U
      unlabeled samples, for labels drawn from the teacher (Appendix A, equation 12).
      :mod:`pipeline.methods.feedback` computes h.
    * ``unrolled`` computes the gradient of L_l(theta') exactly, for soft labels and a student that takes a step of
      plain gradient descent; see :mod:`pipeline.methods.mpl_unrolled`.
    * The others are forms of public code; see :data:`pipeline.methods.mpl_options.MODES`.

    With ``mpl.scale=sum`` and ``mpl.weight=1`` the term has the strength of the derivation, in every mode. The default,
    ``mean``, is public code's: 1 / U of that, in every mode.
    """

    networks_needed = ("teacher", "student")
    evaluated: ClassVar[tuple[str, ...]] = ("student",)
    meta_weight = "mpl.weight"
    meta_options = ("mpl.scale", "mpl.feedback_step", "mpl.feedback_sign", "mpl.baseline")
    sections = {"uda": UDAOptions, "mpl": MPLOptions}  # noqa: RUF012

    @classmethod
    def start_steps(cls, options: Mapping[str, Any]) -> dict[str, int]:
        return {"student": options["mpl"].student_wait}

    @classmethod
    def differentiated_forward(cls, options: Mapping[str, Any]) -> Iterable[str]:
        return cls.networks_needed if options["mpl"].mode == "unrolled" and options["mpl"].weight else ()

    def roles(self, step: int) -> tuple[str, str]:  # noqa: ARG002
        """Return the names of the networks that are teacher and student in ``step``."""
        return "teacher", "student"

    def teacher_trains_alone(self, step: int) -> bool:
        return step < int(self.options["mpl"].student_wait)

    def step(self, step: int) -> Phases:
        teacher, student = self.roles(step)
        predictions: Predictions = yield Compute(
            "pseudo-label", lambda batch: self.pseudo_label(teacher, batch), track_running_stats=True
        )
        alone = self.teacher_trains_alone(step)
        term = None if alone else (yield from self.update_student(teacher, student, predictions))
        yield Update(
            teacher, lambda batch: self.teacher_loss(step, teacher, predictions[batch], term, batch), noise="teacher"
        )

    def update_student(
        self, teacher: str, student: str, predictions: Predictions
    ) -> Generator[Phase, Any, MetaTerm | None]:
        """Update the student; return the teacher's meta term, or None if it is switched off."""
        options: MPLOptions = self.options["mpl"]
        labels: Labels = {batch: prediction.labels for batch, prediction in predictions.items()}
        if options.choices.label_mode in STRONG_LABELS:
            labels = yield Compute("teacher", lambda batch: self.strong_labels(teacher, batch))
        network = self.networks[student]

        def loss(batch: Batch) -> Tensor:
            return self.student_loss(network, labels[batch], batch)

        if options.mode == "unrolled" and options.weight:
            return (yield from unrolled_term(student, network, loss, self.strength / self.unlabeled))
        if not options.weight:
            yield Update(student, loss)
            return None
        before, after, moved = yield from FEEDBACK_STEPS[options.choices.feedback_step](student, network, loss)
        return (yield from self.reinforce_term(before, after, moved, labels))

    @property
    def strength(self) -> float:
        """The weight of the mean of the meta term over the global batch."""
        options: MPLOptions = self.options["mpl"]
        return options.weight * (self.unlabeled if options.scale == "sum" else 1)

    def reinforce_term(
        self, before: Tensor, after: Tensor, moved: Tensor, labels: Labels
    ) -> Generator[Phase, Any, MetaTerm]:
        """Return the meta term strength * h * CE(labels, teacher).

        Args:
            before: labeled loss of the student before its update, a scalar.
            after: labeled loss of the student after its update, a scalar.
            moved: whether the update moved the student, a boolean scalar. If not, h is 0.
            labels: pseudo-labels by micro-batch.
        """
        choices, strength = self.options["mpl"].choices, self.strength
        h = feedback(before, after) if choices.feedback_sign == "old-new" else feedback(after, before)
        h = torch.where(moved, h, 0)
        yield Report({"h": h})
        centered = subtract_baseline(self.state, h, moved) if choices.baseline else h
        cross_entropy = TEACHER_LOSSES[choices.label_mode]
        return lambda batch, strong: strength * centered * cross_entropy(strong, labels[batch])

    def pseudo_label(self, teacher: str, batch: Batch) -> WeakPrediction:
        return label_weak_views(batch, self.networks[teacher](batch.weak))

    def strong_labels(self, teacher: str, batch: Batch) -> Tensor:
        """Return the student's targets, which the teacher makes from the same pass over the strong views as its loss.

        They are classes drawn from its distribution, int64 [U], or the distribution itself, [U, classes].
        """
        strong = self.logits(teacher, batch.labeled, batch.strong)[1]
        return STRONG_LABELS[self.options["mpl"].choices.label_mode](batch, strong)

    def student_loss(self, student: Model, labels: Tensor, batch: Batch) -> Tensor:
        """Return L_u, the cross-entropy of the student's strong views on the pseudo-labels."""
        smoothing = self.label_smoothing if self.options["mpl"].choices.smooth_student else 0.0
        loss = F.cross_entropy(student(batch.strong), labels, label_smoothing=smoothing)
        batch.report(student_loss=loss)
        return loss

    def teacher_loss(
        self, step: int, teacher: str, prediction: WeakPrediction, term: MetaTerm | None, batch: Batch
    ) -> Tensor:
        labeled, strong = self.logits(teacher, batch.labeled, batch.strong)
        unlabeled = consistency(self.options["uda"], self.ramp(step), strong, prediction.logits, batch)
        loss = self.labeled_loss(labeled, batch.labels) + unlabeled
        if term is not None:
            loss = loss + term(batch, strong)
        batch.report(loss=loss)
        return loss
