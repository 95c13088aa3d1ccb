"""The random choices of one augmentation round: which op each sample gets, and how strong."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.augment.pools import Ops


@dataclass(frozen=True)
class SampledOps:
    """The ops of one round of RandAugment or AutoAugment, sampled for each image of a batch.

    Args:
        pool: each op's strength, by name.
        op: int64 [B], the position in ``pool`` of the op of each sample.
        sign: float32 [B], -1 or 1.
        fraction: float32 [B]: the magnitude, in units of 10.
        center: float32 [B, 2] in [0, 1): where Cutout's square is, as fractions of the height and width; only a pool
            with Cutout reads it.
    """

    pool: Ops
    op: Tensor
    sign: Tensor
    fraction: Tensor
    center: Tensor

    def samples_with(self, names: Collection[str]) -> Tensor:
        """Return int64 [N]: the positions in the batch of the samples whose op is one of ``names``."""
        chosen = torch.tensor([name in names for name in self.pool], device=self.op.device)
        return chosen[self.op].nonzero()[:, 0]

    def select(self, rows: Tensor, names: Collection[str]) -> "SampledOps":
        """Return the ops of the samples at ``rows``, int64 [N], all of which have one of the ops ``names``."""
        place = torch.tensor([sorted(names).index(name) if name in names else 0 for name in self.pool])
        pool = {name: self.pool[name] for name in sorted(names)}
        return SampledOps(pool, place[self.op[rows]], self.sign[rows], self.fraction[rows], self.center[rows])

    def amount(self, name: str) -> Tensor:
        """Return float32 [B]: the strength of op ``name``, which is 0 for samples that have another op.

        Every op is the identity at 0, so a whole batch can go through every op without a branch.
        """
        if name not in self.pool:
            return torch.zeros_like(self.fraction)
        strength = self.pool[name]
        amount = strength.zero + (strength.ten - strength.zero) * self.fraction
        amount = amount * (self.op == list(self.pool).index(name)).to(amount.dtype)
        return amount * self.sign if strength.signed else amount
