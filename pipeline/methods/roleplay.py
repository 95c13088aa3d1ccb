"""Role-playing Meta Pseudo Labels: two networks take turns as teacher and student, and form an ensemble in the end.

Source: the public project saarst/TransferMPL; there is no paper.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from pipeline.methods.mpl import MPL
from pipeline.options import Options
from pipeline.step_units import Interval, Length


class RolePlayOptions(Options):
    period: Interval = Field(
        100, ge=1, description="steps between two swaps of the roles; the original swaps every epoch"
    )
    warmup: Length = Field(
        0, ge=0, description="steps at the start in which the first model trains alone; replaces mpl.student_wait"
    )


class RolePlay(MPL):
    """MPL whose roles swap every ``period`` steps.

    Each network keeps its weights, optimizer, schedule and average, whatever its role. Each network is evaluated, and
    so is their ensemble, by the mean of their logits.
    """

    networks_needed = ("first", "second")
    evaluated = ("first", "second")
    sections = {**MPL.sections, "roleplay": RolePlayOptions}  # noqa: RUF012

    @classmethod
    def start_steps(cls, options: Mapping[str, Any]) -> dict[str, int]:
        return {"second": options["roleplay"].warmup}

    def roles(self, step: int) -> tuple[str, str]:
        options = self.options["roleplay"]
        turn = max(0, step - options.warmup) // options.period
        return ("second", "first") if turn % 2 else ("first", "second")

    def teacher_trains_alone(self, step: int) -> bool:
        return step < int(self.options["roleplay"].warmup)
