"""A run within a wall-clock budget: from measured seconds to a number of steps, and the record of that choice.

A run is a function of its steps and never of a clock. So the steps are fitted once, before the first of them, and noted
in the run folder; a run that is resumed takes them from there, however long it was away.
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
"""The part of the time that is filled: a machine does not keep its pace to the percent."""
LEAST = 10
"""Fewer steps train nothing."""


class Pace(Options):
    """How long the parts of a run take on a machine, in seconds."""

    start: float = Field(ge=0, description="networks and first steps, beyond what later steps take")
    step: float = Field(gt=0, description="a training step, log included")
    evaluation: float = Field(ge=0, description="one on the validation split")
    save: float = Field(ge=0, description="a checkpoint")
    scoring: float = Field(ge=0, description="all final scores, the test split's reading included")

    def run(self, steps: int, recipe: Config) -> float:
        """Return at most what a run of ``steps`` takes that keeps its share of the recipe's evaluations and saves."""
        evaluations = 1 + min(steps, recipe.steps // recipe.eval_every)
        saves = 2 + min(steps, recipe.steps // recipe.save_every)  # the exported model is the last one
        return self.start + steps * self.step + evaluations * self.evaluation + saves * self.save + self.scoring


class Budget(Options):
    """What a budget came to."""

    minutes: float
    nominal_steps: int = Field(description="the recipe's own, to which its other lengths belong")
    steps: int
    seconds_before: float = Field(description="from the start of the ranks to that of training")
    seconds: Pace

    @classmethod
    def fit(cls, recipe: Config, pace: Pace, gone: float) -> Self:
        """Return the most steps that end in time, ``gone`` seconds after the start.

        Raises:
            UsageError: they are too few.
        """
        minutes = recipe.budget_minutes or 0.0
        left = MARGIN * (60 * minutes - gone)
        most = range(1, 1 + int(max(0.0, left) / pace.step))
        steps = bisect_right(most, left, key=lambda count: pace.run(count, recipe))
        if steps < LEAST:
            enough = math.ceil((gone + pace.run(LEAST, recipe) / MARGIN) / 6) / 10
            problem = f"{minutes:g} are too few: {steps} steps would end in time, {LEAST} are the least"
            raise UsageError(f"budget_minutes: {problem}; try --budget-minutes {enough:g}")
        return cls(minutes=minutes, nominal_steps=recipe.steps, steps=steps, seconds_before=gone, seconds=pace)

    def settle(self, config: Config, out: Path) -> Config:
        """Return the recipe's configuration with this budget's steps, or one that has them already as it is.

        Raises:
            UsageError: it asks for something else than this budget was made of.
        """
        asked = {"budget_minutes": config.budget_minutes, "steps": config.steps}
        made_of = {"budget_minutes": self.minutes, "steps": self.nominal_steps}
        if asked == made_of | {"steps": self.steps}:
            return config
        for key, value in made_of.items():
            if asked[key] != value:
                raise UsageError(f"{key}: {out} was fitted for {value}, not for {asked[key]}; give another --out")
        return _resized(config, self.steps)

    def save(self, out: Path) -> None:
        """Write the record durably. Raises DataError."""
        write_durably(RunFolder(out).budget_file, self.model_dump_json(indent=2).encode())

    def __str__(self) -> str:
        pace = f"{self.steps} steps of {1000 * self.seconds.step:.3g} ms, {self.seconds_before:.0f} s after the start"
        return f"{self.minutes:g} minutes: {pace}; the recipe has {self.nominal_steps}"


def read_budget(out: Path) -> Budget | None:
    """Return what the budget of the run in ``out`` came to, or None if there is no record. Raises DataError."""
    path = RunFolder(out).budget_file
    try:
        return Budget.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError):
        raise DataError(f"{path}: unreadable or damaged; give another --out") from None


def settle_budget(config: Config, out: Path) -> Config:
    """Return the configuration with the steps that the run in ``out`` has; before it has any, as it is.

    Raises:
        UsageError: the run there has another budget, or began without one.
        DataError: its record is damaged.
    """
    if config.budget_minutes is None:
        return config
    if budget := read_budget(out):
        return budget.settle(config, out)
    if RunFolder(out).checkpoints.steps():
        raise UsageError(f"budget_minutes: the run in {out} began without a budget; give another --out")
    return config


def _resized(config: Config, steps: int) -> Config:
    """Return the configuration of a run of ``steps`` that is otherwise alike: whatever counts steps keeps its share."""
    options = {name: rescale(own, steps, config.steps) for name, own in config.method_options().items()}
    sections = {name: own.model_dump(mode="json") for name, own in options.items()}
    return rescale(config, steps, config.steps).model_copy(update={"steps": steps, "sections": sections})
