"""What training may look at: every split but the test split."""

from dataclasses import dataclass
from pathlib import Path

from data_prep.manifest import Manifest
from pipeline.data.resident import ResidentSplit, load_split
from pipeline.distributed import World
from pipeline.task import Task


@dataclass(frozen=True)
class TrainingData:
    labeled: ResidentSplit
    unlabeled: ResidentSplit | None
    val: ResidentSplit
    task: Task
    fingerprint: str
    """Of the manifest that the splits were checked against."""


def load_training_data(folder: Path, manifest: Manifest, world: World, *, unlabeled: bool) -> TrainingData:
    """Check, decode and place the splits on the device; without ``unlabeled`` that split is left out."""
    return TrainingData(
        load_split(folder, manifest, "labeled", world),
        load_split(folder, manifest, "unlabeled", world) if unlabeled else None,
        load_split(folder, manifest, "val", world),
        Task.of(manifest),
        manifest.fingerprint,
    )
