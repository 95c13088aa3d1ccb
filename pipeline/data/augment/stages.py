"""Apply one round of ops: geometric ops first, then gray levels, then color and sharpness."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from pipeline.data.augment.enhance import ENHANCED, enhance
from pipeline.data.augment.geometry import LOOKED_UP, geometric
from pipeline.data.augment.pointwise import TABLES, pointwise
from pipeline.data.augment.pools import Ops
from pipeline.data.augment.sampled_ops import SampledOps

Stage = Callable[[Tensor, SampledOps], Tensor]


class Stages:
    """The stages that the ops of ``pool`` need. Their order has no effect, since each sample has an op of one stage.

    On a GPU the whole batch goes through every stage, without a branch, so that one CUDA graph can hold it. On a CPU
    the batch is sorted by op and each sample goes through its own op alone: the same bits in a third of the time.

    Args:
        pool: the ops that can be sampled.
        fill: gray level, 0..255, of the pixels that a geometric op uncovers.
    """

    def __init__(self, pool: Ops, fill: int) -> None:
        single_ops = [(frozenset({name}), pointwise) for name in TABLES] + [
            (frozenset({name}), enhance) for name in ENHANCED
        ]
        geometry = (LOOKED_UP, partial(geometric, fill=fill))
        self.pool = pool
        self.batched = self._needed([geometry, (frozenset(TABLES), pointwise), (frozenset(ENHANCED), enhance)])
        self.sorted = self._needed([geometry, *single_ops])

    def __call__(self, images: Tensor, sampled: SampledOps) -> Tensor:
        """Return uint8 [B, C, H, W]: each image after its op."""
        return (
            self.apply_by_op(images, sampled) if images.device.type == "cpu" else self.apply_to_batch(images, sampled)
        )

    def apply_to_batch(self, images: Tensor, sampled: SampledOps) -> Tensor:
        """Apply every stage to every image: no branch and no shape depends on data."""
        for _, stage in self.batched:
            images = stage(images, sampled)
        return images

    def apply_by_op(self, images: Tensor, sampled: SampledOps) -> Tensor:
        """Apply to each image the stage of its op alone."""
        result = images.clone()
        for names, stage in self.sorted:
            rows = sampled.samples_with(names)
            if len(rows):
                result.index_copy_(0, rows, stage(images.index_select(0, rows), sampled.select(rows, names)))
        return result

    def _needed(self, stages: Sequence[tuple[frozenset[str], Stage]]) -> list[tuple[frozenset[str], Stage]]:
        return [(names & self.pool.keys(), stage) for names, stage in stages if names & self.pool.keys()]
