"""A prepared set, together with the loader by which a run reads it."""

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
    """A prepared set that all ranks of a run read."""

    folder: Path
    manifest: Manifest
    world: World
    choice: LoaderChoice
    """The loader and the reason for it."""
    stream: StreamOptions | None
    """How splits are streamed; None if the loader is resident."""

    def open(self, split: str) -> DataSplit:
        """Check and open a split; all ranks call this together. Raises DataError."""
        return open_split(self.folder, self.manifest, split, self.world, self.stream)

    def training_data(self, *, unlabeled: bool) -> TrainingData:
        """Open all splits that training may use, the unlabeled one only if asked for. Raises DataError."""
        return load_training_data(self.folder, self.manifest, self.world, unlabeled=unlabeled, stream=self.stream)
