"""A prepared set as a run reads it: which splits it opens when, and how they come to the device."""

from dataclasses import dataclass
from pathlib import Path

from data_prep.dataset.manifest import Manifest
from pipeline.data.batches.split import DataSplit
from pipeline.data.loader_choice import LoaderChoice
from pipeline.data.streaming.split import StreamOptions
from pipeline.data.training_splits import TrainingData, load_training_data, open_split
from pipeline.distributed.world import World


@dataclass(frozen=True)
class PreparedSet:
    """The files of a set, for all ranks of a world."""

    folder: Path
    manifest: Manifest
    world: World
    choice: LoaderChoice
    """The loader, and why it is that one."""
    stream: StreamOptions | None
    """None where splits are resident."""

    def open(self, split: str) -> DataSplit:
        """Check a split and make it ready; all ranks together. Raises DataError."""
        return open_split(self.folder, self.manifest, split, self.world, self.stream)

    def training_data(self, *, unlabeled: bool) -> TrainingData:
        """Open every split but the test split; without ``unlabeled`` not that one either. Raises DataError."""
        return load_training_data(self.folder, self.manifest, self.world, unlabeled=unlabeled, stream=self.stream)
