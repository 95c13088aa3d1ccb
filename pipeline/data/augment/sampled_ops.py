"""The random choices of one augmentation round: which op each sample gets, and how strong."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.augment.pools import OPS, Pool


@dataclass(frozen=True)
class SampledOps:
    """The ops of one round of RandAugment or AutoAugment, sampled for each image of a batch.

    Args:
        pool: each op's strength at the highest magnitude, by name.
        op: int64 [B], the position in ``pool`` of the op of each sample.
        sign: float32 [B], -1 or 1.
        fraction: float32 [B], 0..1: the fraction of the pool's strength to apply.
    """

    pool: Pool
    op: Tensor
    sign: Tensor
    fraction: Tensor

    @classmethod
    def from_uniform(cls, pool: Pool, chance: Tensor, magnitude: float, random_magnitude: bool) -> "SampledOps":
        """Return a round of RandAugment.

        Args:
            pool: each op's strength at magnitude 10, by name.
            chance: float32 [B, 3], uniform in [0, 1).
            magnitude: 0..10.
            random_magnitude: whether each sample's magnitude is uniform below ``magnitude``.
        """
        op, sign, fraction = chance.unbind(1)
        top = magnitude / 10
        return cls(
            pool,
            op=(op * len(pool)).long(),
            sign=torch.where(sign < 0.5, -1.0, 1.0),
            fraction=fraction * top if random_magnitude else torch.full_like(fraction, top),
        )

    def samples_with(self, names: Collection[str]) -> Tensor:
        """Return int64 [N]: the positions in the batch of the samples whose op is one of ``names``."""
        chosen = torch.tensor([name in names for name in self.pool], device=self.op.device)
        return chosen[self.op].nonzero()[:, 0]

    def select(self, rows: Tensor, names: Collection[str]) -> "SampledOps":
        """Return the ops of the samples at ``rows``, int64 [N], all of which have one of the ops ``names``."""
        place = torch.tensor([sorted(names).index(name) if name in names else 0 for name in self.pool])
        pool = {name: self.pool[name] for name in sorted(names)}
        return SampledOps(pool, place[self.op[rows]], self.sign[rows], self.fraction[rows])

    def amount(self, name: str) -> Tensor:
        """Return float32 [B]: the strength of op ``name``, which is 0 for samples that have another op.

        Every op is the identity at 0, so a whole batch can go through every op without a branch.
        """
        if name not in self.pool:
            return torch.zeros_like(self.fraction)
        amount = (self.op == list(self.pool).index(name)).to(self.fraction.dtype) * self.pool[name]
        if OPS[name].has_magnitude:
            amount = amount * self.fraction
        return amount * self.sign if OPS[name].signed else amount
