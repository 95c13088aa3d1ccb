"""What a split is to whoever evaluates on it."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from pipeline.distributed.world import World


class DataSplit(Protocol):
    """Samples of a prepared split, however they are kept."""

    @property
    def ids(self) -> Tensor:
        """int64 [N], the samples' places in the source, ascending."""

    def __len__(self) -> int: ...

    def batches(self, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this rank's share: un-augmented images [B, C, H, W] on its device, and labels int64 [B]."""
