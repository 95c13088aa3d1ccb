"""What training may look at: every split but the test split."""

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
    labeled: DataSplit
    unlabeled: DataSplit | None
    val: DataSplit
    task: Task
    fingerprint: str
    """Of the manifest that the splits were checked against."""
    loader: Callable[..., Loader] = ResidentLoader
    """What makes batches of splits that are kept as these are."""


def load_training_data(
    folder: Path, manifest: Manifest, world: World, *, unlabeled: bool, stream: StreamOptions | None = None
) -> TrainingData:
    """Check the splits and place them on the device, or open them to ``stream``.

    Without ``unlabeled`` that split is left out. Raises DataError.
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
    """Return a split on the device, or one to ``stream``. Raises DataError."""
    if stream is None:
        return load_split(folder, manifest, split, world)
    return open_stream(folder, manifest, split, world, stream)
