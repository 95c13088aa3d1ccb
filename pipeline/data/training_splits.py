"""The splits that training may use: all but the test split."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_prep.dataset.manifest import Manifest
from pipeline.data.batches.assemble import Loader
from pipeline.data.batches.split import DataSplit
from pipeline.data.resident.loader import ResidentLoader
from pipeline.data.resident.split import load_split
from pipeline.data.streaming.loader import StreamLoader
from pipeline.data.streaming.split import StreamOptions, open_stream
from pipeline.distributed.world import World
from pipeline.task import Task


@dataclass(frozen=True)
class TrainingData:
    """The splits and the task of a run."""

    labeled: DataSplit
    unlabeled: DataSplit | None
    val: DataSplit
    task: Task
    fingerprint: str
    """The fingerprint of the manifest against which the splits were checked."""
    loader: Callable[..., Loader] = ResidentLoader
    """The class that makes batches from splits of this kind."""


def load_training_data(
    folder: Path, manifest: Manifest, world: World, *, unlabeled: bool, stream: StreamOptions | None = None
) -> TrainingData:
    """Check the files of the splits, then load the splits onto the device or, if ``stream`` is given, open them.

    The unlabeled split is None unless ``unlabeled``. Raises DataError.
    """
    return TrainingData(
        open_split(folder, manifest, "labeled", world, stream),
        open_split(folder, manifest, "unlabeled", world, stream) if unlabeled else None,
        open_split(folder, manifest, "val", world, stream),
        Task.of(manifest, stream.size if stream else None),
        manifest.fingerprint,
        StreamLoader if stream else ResidentLoader,
    )


def open_split(folder: Path, manifest: Manifest, split: str, world: World, stream: StreamOptions | None) -> DataSplit:
    """Return a split on the device, or one that is streamed if ``stream`` says how. Raises DataError."""
    if stream is None:
        return load_split(folder, manifest, split, world)
    return open_stream(folder, manifest, split, world, stream)
