"""Descents of many seeds: a table of how many seeds each claim is true for, and a picture of one descent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.schema import Config
from pipeline.figures.descent import Descent, TrueLoss, count, measure
from pipeline.figures.loss_surface import draw_descent
from pipeline.figures.moons import load_points


@dataclass(frozen=True)
class DescentStudy:
    """The descents of several seeds, each measured after the same numbers of supervised steps."""

    configs: Sequence[Config]
    """The configuration of each seed, in the order of the seeds."""
    rate: float
    """Learning rate of the measured steps."""
    descents: Sequence[Sequence[Descent]]
    """The descents of each seed, in ascending order of the number of supervised steps before them."""

    def counts(self) -> dict[int, dict[str, int]]:
        """Return, for each number of supervised steps, the number of seeds for which each claim is true."""
        return {column[0].start: count(column) for column in zip(*self.descents, strict=True)}

    def lines(self, seed: int, start: int) -> list[str]:
        """Return a text about the descent of a seed after ``start`` supervised steps, and the table of all seeds."""
        return [self._title(seed, start), *step_lines(self._descent(seed, start)), "", *self._table()]

    def draw(self, path: Path, seed: int, start: int) -> None:
        """Write the picture of the descent of a seed after ``start`` supervised steps."""
        config = self.configs[seed]
        counts = ", ".join(f"{claim} {number}" for claim, number in self.counts()[start].items())
        notes = [self._title(seed, start), f"how many of {len(self.configs)} seeds: {counts}"]
        draw_descent(path, self._descent(seed, start), TrueLoss(config, load_points(config)), notes)

    def _descent(self, seed: int, start: int) -> Descent:
        return next(descent for descent in self.descents[seed] if descent.start == start)

    def _title(self, seed: int, start: int) -> str:
        labels, steps = self.configs[seed].data.labels, f"after {start} supervised steps, rate {self.rate:g}"
        return f"Moons, {labels} labels, seed {seed}, {steps}: true loss of all training points"

    def _table(self) -> list[str]:
        """Return a Markdown table: a row for each number of supervised steps, a column for each claim."""
        counts = self.counts()
        claims = next(iter(counts.values()))
        header = f"| start (seeds: {len(self.configs)}) | " + " | ".join(claims) + " |"
        rows = [f"| {start} | " + " | ".join(map(str, row.values())) + " |" for start, row in counts.items()]
        return [header, "|---" * (1 + len(claims)) + "|", *rows]


def measure_seeds(configs: Sequence[Config], starts: Iterable[int], rate: float) -> DescentStudy:
    """Measure, for each seed's configuration, the descents after each number of supervised steps in ``starts``.

    Raises:
        UsageError: a gradient is not finite.
    """
    descents = [list(measure(config, load_points(config), starts, rate)) for config in configs]
    return DescentStudy(configs, rate, descents)


def step_lines(descent: Descent) -> list[str]:
    """Return a line about each of the three steps: the true loss before and after it."""
    before, supervised, first, second = descent.losses
    steps = {"supervised step": (before, supervised), "SMPL, step 1": (before, first), "SMPL, step 2": (first, second)}
    return [f"{name}: {a:.4f} to {b:.4f}, {'up' if b > a else 'down'}" for name, (a, b) in steps.items()]
