"""The order of samples when only a few shards are available at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pipeline.data.sampling.epoch_order import EpochOrder
from pipeline.data.sampling.stateless_rng import derive_key, permutation


@dataclass(frozen=True)
class ShardLayout:
    """Where the samples of a split are in its shards."""

    positions: Tensor
    """The positions of the samples, int64 [N] on the CPU, counted over all shards in their order.

    Entry n belongs to the sample with the n-th smallest id.
    """
    shards: tuple[int, ...]
    """Number of samples in each shard."""


class BlockOrder(EpochOrder):
    """An order that permutes the shards of each epoch, and then the samples within ``block`` consecutive shards.

    So ``block`` shards are needed at a time, or twice as many if a batch extends over two blocks. As in
    :class:`EpochOrder`, an epoch depends on (seed, purpose, epoch) alone.

    Args:
        seed: the seed of the run.
        purpose: distinguishes the orders of one seed, such as ``"labeled"``.
        layout: where the samples are in the shards; at least one sample.
        block: number of shards whose samples are mixed; at least 1.
        device: the device of the indices.
    """

    def __init__(self, seed: int, purpose: str, layout: ShardLayout, block: int, device: torch.device) -> None:
        super().__init__(seed, purpose, len(layout.positions), device)
        self.layout, self.block = layout, block
        self.starts = tuple(accumulate(layout.shards, initial=0))
        self.in_shard_order = torch.argsort(layout.positions)

    def _epoch(self, number: int) -> Tensor:
        if number not in self._epochs:
            shards = permutation(
                derive_key(self.seed, self.purpose, "shards", number), len(self.layout.shards)
            ).tolist()
            blocks = [shards[first : first + self.block] for first in range(0, len(shards), self.block)]
            mixed = [self._mixed(number, place, block) for place, block in enumerate(blocks)]
            self._epochs[number] = torch.cat(mixed).to(self.device)
        return self._epochs[number]

    def _mixed(self, number: int, place: int, shards: Sequence[int]) -> Tensor:
        """Return the permuted indices of the samples of some shards; ``place`` is the number of their block."""
        samples = torch.cat([self.in_shard_order[self.starts[shard] : self.starts[shard + 1]] for shard in shards])
        return samples[permutation(derive_key(self.seed, self.purpose, number, place), len(samples))]


def sample_order(
    seed: int, purpose: str, size: int, device: torch.device, layout: ShardLayout | None = None, block: int = 0
) -> EpochOrder:
    """Return the order of a split of ``size`` samples, which is the same for all loaders.

    Without a ``layout``, or with ``block`` 0, all samples are mixed.
    """
    if layout is not None and block:
        return BlockOrder(seed, purpose, layout, block, device)
    return EpochOrder(seed, purpose, size, device)
