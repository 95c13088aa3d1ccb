"""A drawn round, carried out: moves, then levels, then color and sharpness."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from pipeline.data.augment.enhance import ENHANCED, enhance
from pipeline.data.augment.geometry import GEOMETRIC, geometric
from pipeline.data.augment.pointwise import TABLES, pointwise
from pipeline.data.augment.pools import Pool
from pipeline.data.augment.sampled_ops import SampledOps

Stage = Callable[[Tensor, SampledOps], Tensor]


class Stages:
    """The stages that draws from ``pool`` need; their order is moot, for each sample drew an op of one of them.

    A GPU takes the whole batch through every stage, without a branch, so that a graph can hold it. A CPU sorts the
    batch by op and takes each sample through its own alone: the same bits, with a third of the work.

    Args:
        pool: the ops that can be drawn.
        fill: gray level of what a geometric op uncovers.
    """

    def __init__(self, pool: Pool, fill: int) -> None:
        one_by_one = [(frozenset({name}), pointwise) for name in TABLES] + [
            (frozenset({name}), enhance) for name in ENHANCED
        ]
        moves = (GEOMETRIC, partial(geometric, fill=fill))
        self.pool = pool
        self.batched = self._needed([moves, (frozenset(TABLES), pointwise), (frozenset(ENHANCED), enhance)])
        self.sorted = self._needed([moves, *one_by_one])

    def __call__(self, images: Tensor, sampled: SampledOps) -> Tensor:
        """Return uint8 [B, C, H, W]: each image after the op that it drew."""
        return (
            self.apply_by_op(images, sampled) if images.device.type == "cpu" else self.apply_to_batch(images, sampled)
        )

    def apply_to_batch(self, images: Tensor, sampled: SampledOps) -> Tensor:
        """Take every image through every stage: no branch and no shape depends on data."""
        for _, stage in self.batched:
            images = stage(images, sampled)
        return images

    def apply_by_op(self, images: Tensor, sampled: SampledOps) -> Tensor:
        """Take each image through the stage of its op alone."""
        result = images.clone()
        for names, stage in self.sorted:
            rows = sampled.samples_with(names)
            if len(rows):
                result.index_copy_(0, rows, stage(images.index_select(0, rows), sampled.select(rows, names)))
        return result

    def _needed(self, stages: Sequence[tuple[frozenset[str], Stage]]) -> list[tuple[frozenset[str], Stage]]:
        return [(names & self.pool.keys(), stage) for names, stage in stages if names & self.pool.keys()]
