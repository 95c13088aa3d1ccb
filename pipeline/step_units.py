"""Options that count steps, and how they scale when a time budget changes the length of a run."""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class CountsSteps:
    """Marks an option that is a number of steps, or a list of such numbers; it is scaled with the length of the run."""

    round_up: bool
    """Whether a fraction of a step is rounded up."""

    def scale(self, value: int, new: int, old: int) -> int:
        """Return the share of ``new`` steps that ``value`` is of ``old`` steps; at least 1 unless ``value`` is 0."""
        share = -(-value * new // old) if self.round_up else value * new // old
        return max(share, min(value, 1))


Length = Annotated[int, CountsSteps(round_up=False)]
"""How many steps something lasts. It is rounded down, so that what ended before the run still does."""
Interval = Annotated[int, CountsSteps(round_up=True)]
"""The steps between two events. It is rounded up, so that the number of events in the run does not grow."""
StepNumbers = Annotated[list[int], CountsSteps(round_up=False)]
"""The steps at which something happens."""


def rescale(options: T, new: int, old: int) -> T:
    """Return the options of a run of ``old`` steps for a run of ``new`` steps; nested options are scaled as well."""
    changed: dict[str, Any] = {}
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        marks = [mark for mark in field.metadata if isinstance(mark, CountsSteps)]
        if isinstance(value, BaseModel):
            changed[name] = rescale(value, new, old)
        elif marks and isinstance(value, list):
            changed[name] = [marks[0].scale(moment, new, old) for moment in value]
        elif marks:
            changed[name] = marks[0].scale(value, new, old)
    return options.model_copy(update=changed)
