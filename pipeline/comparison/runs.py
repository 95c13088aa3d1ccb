"""The training runs of a comparison: every variant with every seed, and the command line of each."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from data_prep.system.errors import UsageError
from pipeline.comparison.variants import MethodVariant, refuse_keys_of_flags
from pipeline.config.command_line import read_config
from pipeline.config.schema import Config
from pipeline.run_folder import MissingFileError, RunFolder


@dataclass(frozen=True)
class SharedOptions:
    """The options that all runs of a comparison share; an option is None if the recipe decides."""

    dataset: str | None
    steps: int | None
    recipe: str | None
    settings: tuple[str, ...]
    """Settings of the form ``KEY=VALUE``."""
    source: Path | None = None
    """The folder or archive of the raw images, from which a set is prepared for each seed."""
    split: str = "test"
    """The split whose accuracy is compared."""

    def config(self, variant: MethodVariant) -> Config:
        """Return the configuration of a variant's runs. Raises UsageError."""
        refuse_keys_of_flags(self.settings, "--set")
        flags = {"dataset": self.dataset, "method": variant.method, "steps": self.steps}
        config = read_config(self.recipe, flags, (*self.settings, *variant.settings))
        if config.budget_minutes is not None:
            raise UsageError("budget_minutes: runs of a comparison need the same length; give --steps")
        if self.split == "val" and config.data.val == 0:
            raise UsageError("--split val: data.val is 0, so no image is in it; set it, such as --set data.val=200")
        return config

    def arguments(self) -> list[str]:
        """Return the options as arguments of ``smpl-train``."""
        flags = {"--dataset": self.dataset, "--steps": self.steps, "--recipe": self.recipe, "--source": self.source}
        given = [str(word) for flag in flags.items() if flag[1] is not None for word in flag]
        return [f"--set={setting}" for setting in self.settings] + given


@dataclass(frozen=True)
class TrainingRun:
    """One run: a variant with a seed, which determines its weights, its batches and its choice of labels."""

    variant: MethodVariant
    seed: int
    folder: Path

    @property
    def log_file(self) -> Path:
        """The file with what the run printed."""
        return self.folder / "log.txt"

    def accuracy(self, split: str = "test") -> float | None:
        """Return the accuracy in percent on a split; None if the run has not finished or there is no such split."""
        try:
            return RunFolder(self.folder).summary().accuracy(split)
        except MissingFileError:
            return None

    def arguments(self) -> list[str]:
        """Return the arguments of ``smpl-train`` that only this run has."""
        settings = [f"--set={setting}" for setting in (f"data.seed={self.seed}", *self.variant.settings)]
        flags = {"--method": self.variant.method, "--seed": self.seed, "--out": self.folder, "--nproc": 1}
        return settings + [str(word) for flag in flags.items() for word in flag]


def plan_runs(variants: Iterable[MethodVariant], seeds: Iterable[int], out: Path) -> list[TrainingRun]:
    """Return a run for each variant and each seed, each with a folder in ``out``."""
    pairs = product(variants, seeds)
    return [TrainingRun(variant, seed, out / variant.folder / f"seed{seed}") for variant, seed in pairs]
