"""The two moons for a study of descents: a configuration with labels of its own for each seed, and the points."""

from collections.abc import Sequence

from data_prep.dataset.manifest import load_manifest
from data_prep.system.errors import UsageError
from pipeline.config.command_line import read_config
from pipeline.config.data_set import DataSet, default_folder, resolve_data
from pipeline.config.schema import Config
from pipeline.data.training_splits import TrainingData, load_training_data
from pipeline.figures.descent import SINGLE_PROCESS


def moons_config(recipe: str, settings: Sequence[str], seed: int) -> Config:
    """Return the configuration of a seed, which chooses the labels and the weights. Prepare its set if it is missing.

    Raises:
        UsageError: a setting is wrong, or the recipe is for another data set.
    """
    config = read_config(recipe, {}, (*settings, "method=smpl", f"seed={seed}", f"data.seed={seed}"))
    if config.dataset != "moons":
        raise UsageError(f"recipe {recipe} is for {config.dataset}; a descent needs moons: leave --recipe out")
    return resolve_data(config, DataSet())


def load_points(config: Config) -> TrainingData:
    """Return the training points of a configuration's prepared set. Raises DataError."""
    folder = default_folder(config)
    return load_training_data(folder, load_manifest(folder), SINGLE_PROCESS, unlabeled=True)
