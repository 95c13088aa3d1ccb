"""A piece of the GPU suite: one command that runs for some minutes and writes one result file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Piece:
    """A Python command of this project. It is done when its result file exists in the suite's folder."""

    name: str
    arguments: tuple[str, ...]
    """Command-line arguments of Python."""
    minutes: float
    """Expected duration of the whole piece."""
    result: str
    """The file that the command writes last, relative to the suite's folder."""
    min_minutes: float | None = None
    """Least useful duration of a piece that can resume; None if it starts over when it was stopped."""
    requires: tuple["Piece", ...] = ()
    """Pieces that must be done first."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the command, in addition to those of the call."""

    @property
    def minutes_needed(self) -> float:
        """Minutes that must be left to start the piece."""
        return self.minutes if self.min_minutes is None else min(self.min_minutes, self.minutes)

    @property
    def next_call(self) -> str:
        """What the next call does with the piece after this one stopped it."""
        return "starts it again" if self.min_minutes is None else "resumes it"

    def done(self, folder: Path) -> bool:
        """Return whether the result exists."""
        return (folder / self.result).exists()

    def failed(self, folder: Path) -> bool:
        """Return whether the last attempt failed."""
        return self.failure_mark(folder).exists()

    def log(self, folder: Path) -> Path:
        """Return the file of the command's output."""
        return folder / "logs" / f"{self.name}.log"

    def failure_mark(self, folder: Path) -> Path:
        """Return the file that a failure creates and a success removes."""
        return folder / "logs" / f"{self.name}.failed"
