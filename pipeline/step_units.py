"""Options that count steps: what becomes of them when a run is made longer or shorter."""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class CountsSteps:
    """Marks an option, a number of steps or a list of such, that keeps its share of the run."""

    up: bool
    """Whether a part of a step counts as a whole one."""

    def scale(self, value: int, new: int, old: int) -> int:
        """Return the same share of ``new`` steps that ``value`` is of ``old``; at least 1 unless ``value`` is 0."""
        share = -(-value * new // old) if self.up else value * new // old
        return max(share, min(value, 1))


Length = Annotated[int, CountsSteps(up=False)]
"""How long something lasts. Rounded down: what ends before the run does still ends before it."""
Interval = Annotated[int, CountsSteps(up=True)]
"""How often something comes. Rounded up: it comes no more often in the whole run."""
Moments = Annotated[list[int], CountsSteps(up=False)]
"""When something happens."""


def rescale(options: T, new: int, old: int) -> T:
    """Return options of a run of ``old`` steps as they are in one of ``new``, inner options included."""
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
