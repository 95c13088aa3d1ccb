"""The order of samples where only some shards are at hand at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pipeline.data.sampling.epoch_order import EpochOrder
from pipeline.data.sampling.stateless_rng import derive_key, permutation


@dataclass(frozen=True)
class ShardLayout:
    """How a split's samples lie in its shards, one shard after the other."""

    positions: Tensor
    """int64 [N] on the CPU: where the sample of index n lies, n counting the samples by their ids."""
    shards: tuple[int, ...]
    """Samples in each shard."""


class BlockOrder(EpochOrder):
    """Every epoch all shards are permuted, and samples within each ``block`` shards that follow one another then.

    So ``block`` shards at a time are needed, or twice as many where a batch reaches over. As with :class:`EpochOrder`
    an epoch depends on (seed, purpose, epoch) alone.

    Args:
        seed: of the run.
        purpose: tells streams of the same seed apart.
        layout: of the split; at least one sample.
        block: shards that are mixed; at least 1.
        device: where indices are wanted.
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
        """Return the indices of the samples of some shards, permuted; ``place`` is the block's in the epoch."""
        samples = torch.cat([self.in_shard_order[self.starts[shard] : self.starts[shard + 1]] for shard in shards])
        return samples[permutation(derive_key(self.seed, self.purpose, number, place), len(samples))]


def sample_order(
    seed: int, purpose: str, size: int, device: torch.device, layout: ShardLayout | None = None, block: int = 0
) -> EpochOrder:
    """Return the order of a split of ``size`` samples, the same whichever loader reads it; blocks need a layout."""
    if layout is not None and block:
        return BlockOrder(seed, purpose, layout, block, device)
    return EpochOrder(seed, purpose, size, device)
