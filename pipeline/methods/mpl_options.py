"""The forms in which Meta Pseudo Labels goes around, and the choices that tell them apart."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from pipeline.options import Options
from pipeline.step_units import Length

Sign = Literal["old-new", "new-old"]
LabelMode = Literal["argmax", "sample", "soft", "two-argmax"]


class Choices(NamedTuple):
    """What a form does, for those in which the teacher's term is feedback times cross-entropy.

    ``label_mode``: what the student learns from, and what the teacher's term says about it. ``argmax`` and ``sample``
    are one hard label of the weak view, shared by both; ``soft`` is the distribution of the strong view;
    ``two-argmax`` is the weak view's arg-max for the student and the strong view's for the teacher.
    """

    feedback_sign: Sign
    label_mode: LabelMode
    baseline: bool
    smooth_student: bool


MODES: Mapping[str, Choices] = {
    "exact": Choices("old-new", "argmax", baseline=False, smooth_student=False),
    "official-soft": Choices("new-old", "soft", baseline=True, smooth_student=True),
    "mpl-pytorch": Choices("new-old", "two-argmax", baseline=False, smooth_student=True),
    "unrolled": Choices("old-new", "soft", baseline=False, smooth_student=False),
}
"""``exact`` follows the derivation. ``official-soft`` is google-research's code: its term has no gradient at all.
``mpl-pytorch`` is kekmodel's: the opposite sign, and two labels. ``unrolled`` has no feedback: it differentiates
the student's labeled error through the student's step."""


class MPLOptions(Options):
    mode: Literal["exact", "unrolled", "official-soft", "mpl-pytorch"] = Field("exact", description="form of the term")
    weight: float = Field(1.0, ge=0, description="weight of the meta term; 0 switches it off")
    feedback_sign: Sign | None = Field(None, description="h as old - new or new - old labeled error; by mode if absent")
    label_mode: LabelMode | None = Field(None, description="which pseudo-labels; by mode if absent")
    baseline: bool | None = Field(None, description="subtract a moving average (0.99) from h; by mode if absent")
    smooth_student: bool | None = Field(None, description="label smoothing for the student too; by mode if absent")
    student_wait: Length = Field(0, ge=0, description="steps that the teacher trains alone at the beginning")

    @model_validator(mode="after")
    def _unrolled_has_no_choices(self) -> Self:
        chosen = [name for name in Choices._fields if getattr(self, name) is not None]
        if self.mode == "unrolled" and chosen:
            raise ValueError(f"mode 'unrolled' has no feedback and labels of its own; leave out {', '.join(chosen)}")
        return self

    @property
    def choices(self) -> Choices:
        """The mode's choices under those made one by one."""
        own = {name: value for name in Choices._fields if (value := getattr(self, name)) is not None}
        return MODES[self.mode]._replace(**own)
