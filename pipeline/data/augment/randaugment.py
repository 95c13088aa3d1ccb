"""RandAugment, with the op, its sign and its strength sampled for every image of the batch."""

from torch import Tensor

from pipeline.data.augment.pools import Pool, check_pool
from pipeline.data.augment.sampled_ops import SampledOps
from pipeline.data.augment.stages import Stages
from pipeline.data.sampling.stateless_rng import uniform


class RandAugment:
    """Apply one random op of the pool to every sample, ``ops`` times (Cubuk et al., 2020, section 3).

    Args:
        pool: each op's strength at magnitude 10, by name; see :mod:`pipeline.data.augment.pools`.
        ops: number of rounds, the paper's N.
        magnitude: 0..10, the paper's M. It scales the pool's strengths; torchvision's bins 0..30 are thirds of it.
        random_magnitude: whether to sample the magnitude uniformly below ``magnitude`` for each image and round, as
            FixMatch does.
        fill: gray level, 0..255, of the pixels that a geometric op uncovers.

    Raises:
        ValueError: the pool or the magnitude is invalid.
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
        for chance in uniform(key, samples, 3 * self.ops).unflatten(1, (self.ops, 3)).unbind(1):
            images = self.apply(
                images, SampledOps.from_uniform(self.pool, chance, self.magnitude, self.random_magnitude)
            )
        return images
