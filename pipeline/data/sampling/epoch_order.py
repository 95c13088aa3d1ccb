"""The order of samples: an endless stream of permutations, as a pure function of the seed.

Epoch e is a permutation of all samples that depends on (seed, purpose, e) alone, and the stream is the concatenation of
all epochs. The only state is a position in the stream, and the stream is the same for every world size.
"""

import torch
from torch import Tensor

from pipeline.data.sampling.stateless_rng import derive_key, permutation


class EpochOrder:
    """The stream of sample indices of one split.

    Args:
        seed: the seed of the run.
        purpose: distinguishes the orders of one seed, such as ``"labeled"``.
        size: number of samples in the split; at least 1.
        device: the device of the indices.
    """

    def __init__(self, seed: int, purpose: str, size: int, device: torch.device) -> None:
        self.seed, self.purpose, self.size, self.device = seed, purpose, size, device
        self._epochs: dict[int, Tensor] = {}

    def at(self, start: int, count: int) -> Tensor:
        """Return the ``count`` indices from position ``start`` of the stream, int64 [count]."""
        first, last = start // self.size, (start + count - 1) // self.size
        stream = torch.cat([self._epoch(number) for number in range(first, last + 1)])
        self._epochs = {number: order for number, order in self._epochs.items() if number >= last}
        offset = start - first * self.size
        return stream[offset : offset + count]

    def _epoch(self, number: int) -> Tensor:
        if number not in self._epochs:
            self._epochs[number] = permutation(derive_key(self.seed, self.purpose, number), self.size, self.device)
        return self._epochs[number]
