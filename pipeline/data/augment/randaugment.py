"""RandAugment with the op, its sign and its strength drawn for every sample of the batch."""

from torch import Tensor

from pipeline.data.augment.pools import Pool, check_pool
from pipeline.data.augment.sampled_ops import SampledOps
from pipeline.data.augment.stages import Stages
from pipeline.data.sampling.stateless_rng import uniform


class RandAugment:
    """``ops`` rounds; in each, every sample goes through one op of the pool (Cubuk et al., 2020).

    Args:
        pool: op name to strength at magnitude 10; see :mod:`pipeline.data.augment.pools`.
        ops: rounds, the paper's N.
        magnitude: 0..10, the paper's M: it scales the pool's strengths (torchvision's bins 0..30 are thirds of it).
        random_magnitude: draw the magnitude uniformly below ``magnitude`` for each sample and round, as FixMatch does.
        fill: gray level of what a geometric op uncovers.
    """

    def __init__(
        self, pool: Pool, ops: int = 2, magnitude: float = 10, random_magnitude: bool = True, fill: int = 128
    ) -> None:
        check_pool(pool)
        if not 0 <= magnitude <= 10:
            raise ValueError(f"magnitude={magnitude} is outside of 0..10")
        self.pool, self.ops = pool, ops
        self.magnitude, self.random_magnitude = magnitude, random_magnitude
        self.apply = Stages(pool, fill)

    def __call__(self, images: Tensor, key: int, samples: Tensor) -> Tensor:
        for drawn in uniform(key, samples, 3 * self.ops).unflatten(1, (self.ops, 3)).unbind(1):
            images = self.apply(
                images, SampledOps.from_uniform(self.pool, drawn, self.magnitude, self.random_magnitude)
            )
        return images
