"""Batches of views from splits that stay on the disk, some steps ahead of training."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.data.batches.assemble import RankSamples, Views, make_batch, rank_slots
from pipeline.data.batches.batch import Batch
from pipeline.data.sampling.block_order import sample_order
from pipeline.data.sampling.crop_windows import random_windows
from pipeline.data.sampling.epoch_order import EpochOrder
from pipeline.data.sampling.stateless_rng import derive_key
from pipeline.data.streaming.prefetch import Pending, Prefetcher
from pipeline.data.streaming.split import Decoded, StreamSplit
from pipeline.distributed.world import World

CPU = torch.device("cpu")
PREFETCH_STEPS = 4
"""Steps that are begun before they are asked for."""
PREFETCH_BYTES = 512 * 2**20
"""Fewer steps, but at least one, where their images would need more than this."""


class DecodedPart(NamedTuple):
    """One side of a batch, labeled or unlabeled, on its way to the device."""

    split: StreamSplit
    slots: Tensor
    purposes: Sequence[str]
    decoded: Decoded

    def share(self) -> RankSamples:
        """Bring it to the device; one view serves all purposes where images are not cut."""
        *views, labels, slots = self.split.copier.to_device([*self.decoded.views, self.decoded.labels, self.slots])
        images = dict(zip(self.purposes, views * len(self.purposes), strict=False))
        return RankSamples(slots, labels, images)


class BatchPart(NamedTuple):
    """Labeled or unlabeled: where samples come from, how many are in a global batch, and what for."""

    split: StreamSplit
    order: EpochOrder
    size: int
    purposes: list[str]


class StreamLoader:
    """A :class:`pipeline.data.batches.assemble.Loader` of splits on the disk.

    Threads read and decode the steps that follow the last one asked for. They keep no state: a batch is the same
    whether it was begun ahead or not, by one thread or by many. Weak and strong view come from one decoded image.

    Args:
        labeled: the labeled split.
        unlabeled: the unlabeled split, or None for a method that looks at none.
        views: the augmentation.
        world: whose share it is.
        batch_size: labeled images in a global batch.
        mu: unlabeled images for each labeled one.
        seed: of order, crops and views.
        block: shards that are shuffled together; 0 for all.
    """

    def __init__(
        self,
        labeled: StreamSplit,
        unlabeled: StreamSplit | None,
        views: Views,
        world: World,
        *,
        batch_size: int,
        mu: int,
        seed: int,
        block: int = 0,
    ) -> None:
        self.views, self.world, self.seed = views, world, seed
        looked_at = {"weak": views.weak, "strong": views.strong}
        wanted = [purpose for purpose, view in looked_at.items() if view is not None] or ["weak"]
        self.parts = {"labeled": BatchPart(labeled, self._order("labeled", labeled, block), batch_size, ["labeled"])}
        if unlabeled is not None:
            order = self._order("unlabeled", unlabeled, block)
            self.parts["unlabeled"] = BatchPart(unlabeled, order, batch_size * mu, wanted)
        depth = max(1, min(PREFETCH_STEPS, PREFETCH_BYTES // (self._bytes() or 1)))
        self._ahead = Prefetcher(self._begin, labeled.decoder.concurrency, depth)

    def batch(self, step: int) -> Batch:
        parts = self.world.run_on_all(lambda: self._ahead.get(step))
        shares = {name: part.share() for name, part in parts.items()}
        return make_batch(self.views, self.seed, step, shares["labeled"], shares.get("unlabeled"))

    def sample_ids(self, step: int) -> dict[str, list[int]]:
        return {
            name: side.split.ids[rank_slots(side.order, self.world, step, side.size)[1]].tolist()
            for name, side in self.parts.items()
        }

    def close(self) -> None:
        self._ahead.close()

    def _order(self, purpose: str, split: StreamSplit, block: int) -> EpochOrder:
        return sample_order(self.seed, purpose, len(split), CPU, split.layout, block)

    def _bytes(self) -> int:
        """Of this rank's decoded images of one step."""
        return sum(
            side.size // self.world.size * len(side.purposes) * prod(side.split.decoder.shape)
            for side in self.parts.values()
        )

    def _begin(self, pool: ThreadPoolExecutor, step: int) -> Pending[Mapping[str, DecodedPart]]:
        begun = {name: self._begin_part(pool, step, side) for name, side in self.parts.items()}
        parts = {name: pending.value for name, pending in begun.items()}
        return Pending(parts, tuple(job for pending in begun.values() for job in pending.jobs))

    def _begin_part(self, pool: ThreadPoolExecutor, step: int, side: BatchPart) -> Pending[DecodedPart]:
        split, purposes = side.split, side.purposes
        slots, samples = rank_slots(side.order, self.world, step, side.size)
        crops = [
            partial(random_windows, derive_key(self.seed, step, f"{purpose} crop"), scale=(split.scale, 1.0))
            for purpose in (purposes if split.resized else purposes[:1])
        ]
        pending = split.begin(pool, samples, slots, crops)
        return Pending(DecodedPart(split, slots, purposes, pending.value), pending.jobs)
