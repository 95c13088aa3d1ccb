"""Training within a wall-clock budget: the number of steps that fits into it, and the record of that choice.

A run depends on its number of steps and never on a clock. So the steps are fitted once, before the first of them, to
measured times, and written to ``budget.json`` in the run folder. A resumed run reads them there.
"""

import math
from bisect import bisect_right
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from data_prep.system.atomic_files import write_durably
from data_prep.system.errors import DataError, UsageError
from pipeline.config.schema import Config
from pipeline.options import Options
from pipeline.run_folder import RunFolder
from pipeline.step_units import rescale

MARGIN = 0.97
"""Fraction of the remaining time that the fitted steps may take; the speed of a machine varies by a few percent."""
MIN_STEPS = 10
"""The fewest steps of a run; with fewer it would train nothing."""


class Timings(Options):
    """How long each part of a run takes on this machine, in seconds."""

    start: float = Field(ge=0, description="building the networks, and what the first steps take beyond later ones")
    step: float = Field(gt=0, description="a training step, its log included")
    evaluation: float = Field(ge=0, description="an evaluation on the validation split")
    save: float = Field(ge=0, description="a checkpoint")
    scoring: float = Field(ge=0, description="all final scores, with reading the test split")

    def run_seconds(self, steps: int, recipe: Config) -> float:
        """Return an upper bound, in seconds, for a run of ``steps`` that evaluates and saves as often as ``recipe``."""
        evaluations = 1 + min(steps, recipe.steps // recipe.eval_every)
        saves = 2 + min(steps, recipe.steps // recipe.save_every)  # one of them is the exported model
        return self.start + steps * self.step + evaluations * self.evaluation + saves * self.save + self.scoring


class Budget(Options):
    """A budget, and the number of steps that was fitted to it."""

    minutes: float
    nominal_steps: int = Field(description="the recipe's steps, for which its other step counts are meant")
    steps: int
    seconds_before: float = Field(description="from the start of the ranks to the start of training")
    seconds: Timings

    @classmethod
    def fit(cls, recipe: Config, timings: Timings, elapsed: float) -> Self:
        """Return the largest number of steps that ends in time, ``elapsed`` seconds after the start.

        Raises:
            UsageError: the budget is too small.
        """
        minutes = recipe.budget_minutes or 0.0
        left = MARGIN * (60 * minutes - elapsed)
        candidates = range(1, 1 + int(max(0.0, left) / timings.step))
        steps = bisect_right(candidates, left, key=lambda count: timings.run_seconds(count, recipe))
        if steps < MIN_STEPS:
            enough = math.ceil((elapsed + timings.run_seconds(MIN_STEPS, recipe) / MARGIN) / 6) / 10
            problem = f"{minutes:g} are too few: {steps} steps would end in time, and a run needs {MIN_STEPS}"
            raise UsageError(f"budget_minutes: {problem}; try --budget-minutes {enough:g}")
        return cls(minutes=minutes, nominal_steps=recipe.steps, steps=steps, seconds_before=elapsed, seconds=timings)

    def apply(self, config: Config, out: Path) -> Config:
        """Return a run's configuration with the fitted steps; every other step count keeps its share of the run.

        Raises:
            UsageError: the configuration has another budget, or other steps, than this budget was fitted for.
        """
        if (config.budget_minutes, config.steps) == (self.minutes, self.steps):
            return config
        for key, fitted_for in {"budget_minutes": self.minutes, "steps": self.nominal_steps}.items():
            if (asked := getattr(config, key)) != fitted_for:
                raise UsageError(f"{key}: {out} was fitted for {fitted_for}, not for {asked}; give another --out")
        options = {name: rescale(own, self.steps, config.steps) for name, own in config.method_options().items()}
        sections = {name: own.model_dump(mode="json") for name, own in options.items()}
        changes = {"steps": self.steps, "sections": sections}
        return rescale(config, self.steps, config.steps).model_copy(update=changes)

    def save(self, out: Path) -> None:
        """Write the record durably. Raises DataError."""
        write_durably(RunFolder(out).budget_file, self.model_dump_json(indent=2).encode())

    def __str__(self) -> str:
        steps = f"{self.steps} steps of {1000 * self.seconds.step:.3g} ms, {self.seconds_before:.0f} s after the start"
        return f"{self.minutes:g} minutes: {steps}; the recipe has {self.nominal_steps}"


def read_budget(out: Path) -> Budget | None:
    """Return the budget of the run in ``out``, or None if none was recorded. Raises DataError if it is damaged."""
    path = RunFolder(out).budget_file
    try:
        return Budget.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError):
        raise DataError(f"{path}: unreadable or damaged; give another --out") from None


def apply_budget(config: Config, out: Path) -> Config:
    """Return the configuration with the steps that were fitted for the run in ``out``, or unchanged if there are none.

    Raises:
        UsageError: the run there has another budget, or began without one.
        DataError: ``budget.json`` is damaged.
    """
    if config.budget_minutes is None:
        return config
    if budget := read_budget(out):
        return budget.apply(config, out)
    if RunFolder(out).checkpoints.steps():
        raise UsageError(f"budget_minutes: the run in {out} began without a budget; give another --out")
    return config
