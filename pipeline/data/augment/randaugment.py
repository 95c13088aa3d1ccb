"""RandAugment, with the op, its sign and its strength sampled for every image of the batch."""

import torch
from torch import Tensor

from pipeline.data.augment.pools import OFF, Ops, Pool, check_pool
from pipeline.data.augment.sampled_ops import SampledOps
from pipeline.data.augment.stages import Stages
from pipeline.data.sampling.stateless_rng import uniform


class RandAugment:
    """Apply one random op of the pool to every sample, ``ops`` times (Cubuk et al., 2020, section 3).

    Args:
        pool: the ops and their strengths; see :mod:`pipeline.data.augment.pools`.
        ops: number of rounds, the paper's N.
        magnitude: the paper's M, which sets the strengths; 10 is the pool's own, and torchvision's bins 0..30 are
            thirds of it.
        random_magnitude: whether to sample the magnitude uniformly below ``magnitude`` for each image and round, as
            FixMatch does.
        fill: gray level, 0..255, of the pixels that a geometric op uncovers.

    Raises:
        ValueError: the pool is invalid, or the magnitude is too large for it.
    """

    def __init__(
        self, pool: Pool, ops: int = 2, magnitude: float = 10, random_magnitude: bool = True, fill: int = 128
    ) -> None:
        check_pool(pool, magnitude)
        self.choices, self.probability = len(pool.ops), pool.probability
        self.pool: Ops = {**pool.ops, "Identity": OFF}
        self.skip = list(self.pool).index("Identity")
        self.ops, self.magnitude, self.random_magnitude = ops, magnitude, random_magnitude
        self.apply = Stages(self.pool, fill)

    def __call__(self, images: Tensor, key: int, samples: Tensor) -> Tensor:
        for sampled in self.sample_ops(key, samples):
            images = self.apply(images, sampled)
        return images

    def sample_ops(self, key: int, samples: Tensor) -> list[SampledOps]:
        """Return the sampled ops of all rounds. An op that is not applied becomes Identity."""
        numbers = uniform(key, samples, 6 * self.ops + 1)
        first, second, chance = numbers.split([3 * self.ops, 3 * self.ops, 1], dim=1)
        low, high = self.probability
        probability = low + (high - low) * chance[:, 0]
        which, where = (part.unflatten(1, (self.ops, 3)).unbind(1) for part in (first, second))
        return [self._round(*pair, probability) for pair in zip(which, where, strict=True)]

    def _round(self, which: Tensor, where: Tensor, probability: Tensor) -> SampledOps:
        """Return the ops of one round.

        Args:
            which: float32 [B, 3], uniform in [0, 1): the op, its sign and its magnitude.
            where: float32 [B, 3], uniform in [0, 1): whether the op is applied, and the center of Cutout's square.
            probability: float32 [B], the probability with which each sample's op is applied.
        """
        op, sign, fraction = which.unbind(1)
        top = self.magnitude / 10
        return SampledOps(
            self.pool,
            op=torch.where(where[:, 0] < probability, (op * self.choices).long(), self.skip),
            sign=torch.where(sign < 0.5, -1.0, 1.0),
            fraction=fraction * top if self.random_magnitude else torch.full_like(fraction, top),
            center=where[:, 1:],
        )
