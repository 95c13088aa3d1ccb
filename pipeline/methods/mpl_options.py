"""The published forms of Meta Pseudo Labels, and the choices in which they differ."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from pipeline.options import Options
from pipeline.step_units import Length

Sign = Literal["old-new", "new-old"]
LabelMode = Literal["argmax", "sample", "soft", "two-argmax"]


class Choices(NamedTuple):
    """What a form does, if its meta term is the feedback h times the teacher's cross-entropy."""

    feedback_sign: Sign
    """h is the labeled loss before minus after the student's step, or after minus before."""
    label_mode: LabelMode
    """The labels of the student and of the teacher's cross-entropy.

    ``argmax`` and ``sample`` are one hard label of the weak view, which both share. ``soft`` is the distribution on the
    strong view. ``two-argmax`` is the arg-max of the weak view for the student and of the strong view for the teacher.
    """
    baseline: bool
    """Whether a moving average is subtracted from h."""
    smooth_student: bool
    """Whether the student's loss has label smoothing."""


MODES: Mapping[str, Choices] = {
    "exact": Choices("old-new", "argmax", baseline=False, smooth_student=False),
    "official-soft": Choices("new-old", "soft", baseline=True, smooth_student=True),
    "mpl-pytorch": Choices("new-old", "two-argmax", baseline=False, smooth_student=True),
    "unrolled": Choices("old-new", "soft", baseline=False, smooth_student=False),
}
"""By ``mpl.mode``.

``exact`` follows the derivation of the paper. ``official-soft`` is the code of google-research, whose term has no
gradient at all. ``mpl-pytorch`` is the code of kekmodel, with the opposite sign and two labels. ``unrolled`` does not
use h: it differentiates the student's labeled loss through the student's step.
"""


class MPLOptions(Options):
    mode: Literal["exact", "unrolled", "official-soft", "mpl-pytorch"] = Field(
        "exact", description="form of the meta term"
    )
    weight: float = Field(1.0, ge=0, description="weight of the meta term; 0 switches it off")
    feedback_sign: Sign | None = Field(None, description="h as old - new or new - old labeled loss; by mode if absent")
    label_mode: LabelMode | None = Field(None, description="which pseudo-labels; by mode if absent")
    baseline: bool | None = Field(None, description="subtract a moving average (0.99) from h; by mode if absent")
    smooth_student: bool | None = Field(None, description="label smoothing for the student too; by mode if absent")
    student_wait: Length = Field(0, ge=0, description="steps at the start in which the teacher trains alone")

    @model_validator(mode="after")
    def _unrolled_has_no_choices(self) -> Self:
        chosen = [name for name in Choices._fields if getattr(self, name) is not None]
        if self.mode == "unrolled" and chosen:
            raise ValueError(f"mode 'unrolled' has no feedback and its own labels; leave out {', '.join(chosen)}")
        return self

    @property
    def choices(self) -> Choices:
        """The choices of the mode, replaced by those that are set one by one."""
        own = {name: value for name in Choices._fields if (value := getattr(self, name)) is not None}
        return MODES[self.mode]._replace(**own)
