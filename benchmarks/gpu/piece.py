"""A piece of the GPU suite: one command that ends within minutes and leaves one file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Piece:
    """A command of this project; it is done when its result stands in the suite's folder, whole."""

    name: str
    words: tuple[str, ...]
    """After ``python``."""
    minutes: float
    """What the whole piece is expected to take."""
    result: str
    """The file that its command writes last, relative to the suite's folder."""
    least: float | None = None
    """Minutes worth starting with, for a piece that goes on where it was stopped; None: it begins anew."""
    after: tuple["Piece", ...] = ()
    """Pieces that must be done before."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> float:
        """Minutes that must be left to start it."""
        return self.minutes if self.least is None else min(self.least, self.minutes)

    @property
    def then(self) -> str:
        """What a call does with it that comes after one that stopped it."""
        return "begins it anew" if self.least is None else "goes on with it"

    def done(self, folder: Path) -> bool:
        return (folder / self.result).exists()

    def failed(self, folder: Path) -> bool:
        """Whether its last try failed."""
        return self.mark(folder).exists()

    def log(self, folder: Path) -> Path:
        return folder / "logs" / f"{self.name}.log"

    def mark(self, folder: Path) -> Path:
        """The file that a failure leaves, and that a success takes away."""
        return folder / "logs" / f"{self.name}.failed"
