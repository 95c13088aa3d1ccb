"""The published forms of Meta Pseudo Labels, and the choices in which they differ."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from pipeline.options import Options
from pipeline.step_units import Length

Sign = Literal["old-new", "new-old"]
LabelMode = Literal["sample", "argmax", "soft", "two-argmax"]
FeedbackStep = Literal["optimizer", "descent"]


class Choices(NamedTuple):
    """The choices that make up a form whose meta term is the feedback h times the teacher's cross-entropy."""

    feedback_sign: Sign
    """``old-new``: h is the labeled loss before the student's step minus that after it; ``new-old``: the opposite."""
    label_mode: LabelMode
    """Which labels the student's loss and the teacher's cross-entropy have.

    * ``sample``: both share one class that is drawn from the teacher's distribution on the strong view, which is also
      where the cross-entropy is taken. Only these labels give an unbiased estimate of the gradient of L_l(theta').
    * ``argmax``: both share the most probable class of the weak view. REINFORCE needs labels that are drawn, so the
      estimate is biased, in direction and in norm; docs/methods.md gives figures.
    * ``soft``: both have the teacher's distribution on the strong view.
    * ``two-argmax``: the student has the most probable class of the weak view, the teacher that of the strong view.
    """
    baseline: bool
    """Whether a moving average is subtracted from h."""
    smooth_student: bool
    """Whether the student's loss has label smoothing."""
    feedback_step: FeedbackStep = "optimizer"
    """The step after which h is measured: the student's own, or plain gradient descent at the same rate.

    The teacher descends on the labeled loss after this step. With ``optimizer`` it is that after the step that the
    student really takes, with momentum, weight decay and clipping; Nesterov momentum of 0.9 alone makes the meta term
    about 1.9 times as long. ``descent`` is the step of the derivation and of ``unrolled``, and costs the student one
    more forward and backward pass. The student is trained by its own step either way.
    """


MODES: Mapping[str, Choices] = {
    "exact": Choices("old-new", "sample", baseline=False, smooth_student=False),
    "official-soft": Choices("new-old", "soft", baseline=True, smooth_student=True),
    "mpl-pytorch": Choices("new-old", "two-argmax", baseline=False, smooth_student=True),
    "unrolled": Choices("old-new", "soft", baseline=False, smooth_student=False),
}
"""The choices by ``mpl.mode``.

``exact`` follows the derivation of the paper: it is an unbiased estimate. ``official-soft`` is the code of
google-research, whose term has no gradient at all. ``mpl-pytorch`` is the code of kekmodel, with the opposite sign and
two labels. ``unrolled`` does not use h: it differentiates the student's labeled loss through the student's step.
"""


class MPLOptions(Options):
    """The section ``mpl``."""

    mode: Literal["exact", "unrolled", "official-soft", "mpl-pytorch"] = Field(
        "exact", description="form of the meta term"
    )
    weight: float = Field(1.0, ge=0, description="weight of the meta term; 0 switches it off")
    scale: Literal["mean", "sum"] = Field(
        "mean", description="meta term over the unlabeled images: mean, as in public code, or the derivation's sum"
    )
    feedback_sign: Sign | None = Field(None, description="h as old - new or new - old labeled loss; by mode if absent")
    label_mode: LabelMode | None = Field(None, description="which pseudo-labels; by mode if absent")
    baseline: bool | None = Field(None, description="subtract a moving average (0.99) from h; by mode if absent")
    smooth_student: bool | None = Field(None, description="label smoothing for the student too; by mode if absent")
    feedback_step: FeedbackStep | None = Field(
        None, description="step after which h is measured: optimizer, or descent without momentum; by mode if absent"
    )
    student_wait: Length = Field(0, ge=0, description="steps at the start in which the teacher trains alone")

    @model_validator(mode="after")
    def _unrolled_has_no_choices(self) -> Self:
        chosen = [name for name in Choices._fields if getattr(self, name) is not None]
        if self.mode == "unrolled" and chosen:
            raise ValueError(f"mode 'unrolled' has no feedback and its own labels; leave out {', '.join(chosen)}")
        return self

    @property
    def choices(self) -> Choices:
        """The choices of the mode; options that are set one by one override them."""
        own = {name: value for name in Choices._fields if (value := getattr(self, name)) is not None}
        return MODES[self.mode]._replace(**own)
