"""How long a run will still take, from the steps that this process has done."""

import time
from collections.abc import Callable


class TimeLeft:
    """Counts steps, and estimates the time that the others will take.

    The first step of a process counts only until there is a second one, since it may compile the network and fill
    caches. Evaluations and checkpoints between steps count as well, since they will come again.

    Args:
        total: steps of the whole run.
        step: number of steps that are done already.
        now: returns the present time in seconds.
    """

    def __init__(self, total: int, step: int, now: Callable[[], float] = time.monotonic) -> None:
        self.total, self.step, self.now = total, step, now
        self.done = 0
        """Number of steps that this process has done."""
        self.started = self.first = self.latest = now()

    def count(self) -> None:
        """Count one step as done at the present moment."""
        self.step += 1
        self.done += 1
        self.latest = self.now()
        if self.done == 1:
            self.first = self.latest

    @property
    def step_seconds(self) -> float:
        """Seconds that a step takes; 0 before the first one."""
        if self.done > 1:
            return (self.latest - self.first) / (self.done - 1)
        return self.latest - self.started

    @property
    def seconds(self) -> float:
        """Seconds that the steps that are not done will take."""
        return self.step_seconds * (self.total - self.step)


def duration(seconds: float) -> str:
    """Return a time in its two largest units, such as ``12 s``, ``3 min 5 s``, ``1 h 2 min`` or ``26 days 4 h``."""
    whole = round(seconds)
    parts = [(whole // 86400, "days"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def pace(seconds: float) -> str:
    """Return the seconds of a step as text, as steps a second if it takes less than one."""
    return f"{1 / seconds:.1f} steps/s" if 0 < seconds < 1 else f"{seconds:.1f} s/step"
