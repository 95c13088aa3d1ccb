"""The interface of a split that a model can be evaluated on."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from pipeline.distributed.world import World


class DataSplit(Protocol):
    """The samples of a prepared split, in memory or on disk."""

    @property
    def ids(self) -> Tensor:
        """The positions of the samples in the source, int64 [N], ascending."""

    def __len__(self) -> int: ...

    def batches(self, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this rank's share: images [B, C, H, W] without augmentation, on its device, and labels int64 [B]."""

    def read(self, parts: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images and labels, as :meth:`batches` does, of the samples int64 [B] of each part.

        A sample is its position in the split, from 0.
        """
