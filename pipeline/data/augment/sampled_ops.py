"""One round's draw: which op each sample got, and how much of it."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.augment.pools import OPS, Pool


@dataclass(frozen=True)
class SampledOps:
    """A round of RandAugment or AutoAugment, drawn for each sample of a batch.

    Args:
        pool: op name to strength at magnitude 10.
        op: int64 [B], position in ``pool`` of the op that the sample drew.
        sign: float32 [B], -1 or 1.
        fraction: float32 [B], 0..1: the part of the pool's strength.
    """

    pool: Pool
    op: Tensor
    sign: Tensor
    fraction: Tensor

    @classmethod
    def from_uniform(cls, pool: Pool, drawn: Tensor, magnitude: float, random_magnitude: bool) -> "SampledOps":
        """Read a draw of RandAugment off ``drawn``, float32 [B, 3] in [0, 1); ``magnitude`` of 0..10."""
        op, sign, fraction = drawn.unbind(1)
        top = magnitude / 10
        return cls(
            pool,
            op=(op * len(pool)).long(),
            sign=torch.where(sign < 0.5, -1.0, 1.0),
            fraction=fraction * top if random_magnitude else torch.full_like(fraction, top),
        )

    def samples_with(self, names: Collection[str]) -> Tensor:
        """Return int64 [N]: the samples that drew one of ``names``."""
        chosen = torch.tensor([name in names for name in self.pool], device=self.op.device)
        return chosen[self.op].nonzero()[:, 0]

    def select(self, rows: Tensor, names: Collection[str]) -> "SampledOps":
        """Return the draw of ``rows``, int64 [N], all of which drew one of ``names``."""
        place = torch.tensor([sorted(names).index(name) if name in names else 0 for name in self.pool])
        pool = {name: self.pool[name] for name in sorted(names)}
        return SampledOps(pool, place[self.op[rows]], self.sign[rows], self.fraction[rows])

    def amount(self, name: str) -> Tensor:
        """Return float32 [B]: the strength of op ``name``, zero for samples that drew another.

        Every op is the identity at zero. That is how a whole batch goes through every op without a branch.
        """
        if name not in self.pool:
            return torch.zeros_like(self.fraction)
        amount = (self.op == list(self.pool).index(name)).to(self.fraction.dtype) * self.pool[name]
        if OPS[name].has_magnitude:
            amount = amount * self.fraction
        return amount * self.sign if OPS[name].signed else amount
