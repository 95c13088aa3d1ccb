"""Batches from splits that stay on disk; they are read and decoded a few steps ahead of training."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import prod
from typing import NamedTuple

import torch

from pipeline.data.batches.assemble import RankSamples, RankSlots, Views, make_batch, rank_slots
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
"""Number of steps that are read ahead."""
PREFETCH_BYTES = 512 * 2**20
"""Limit of the decoded images that are read ahead, in bytes per rank; at least one step is read ahead."""


class DecodedPart(NamedTuple):
    """The decoded images of one part of a batch, before they are copied to the device."""

    split: StreamSplit
    places: RankSlots
    purposes: Sequence[str]
    """``labeled`` alone, or ``weak`` and ``strong`` without a view that is not used."""
    decoded: Decoded

    def to_device(self) -> RankSamples:
        """Copy the images to the device; without random crops, one image serves all purposes."""
        here = [*self.decoded.views, self.decoded.labels, *self.places]
        *views, labels, slots, samples, epochs = self.split.copier.to_device(here)
        images = dict(zip(self.purposes, views * len(self.purposes), strict=False))
        return RankSamples(RankSlots(slots, samples, epochs), labels, images)


class BatchPart(NamedTuple):
    """The labeled or the unlabeled part of all batches."""

    split: StreamSplit
    order: EpochOrder
    size: int
    """Number of its samples in a global batch."""
    purposes: list[str]
    """``labeled`` alone, or ``weak`` and ``strong`` without a view that is not used."""


class StreamLoader:
    """A :class:`pipeline.data.batches.assemble.Loader` of splits on disk.

    Threads read and decode the batches of the next steps before they are requested. They have no state: a batch is the
    same whether it was read ahead or not, by one thread or by many. The weak and the strong view are made from one
    decoded image.

    Args:
        labeled: the labeled split.
        unlabeled: the unlabeled split, or None for a method that uses no unlabeled image.
        views: the augmentation.
        world: the rank and the number of ranks.
        batch_size: number of labeled images in a global batch.
        mu: number of unlabeled images for each labeled one.
        seed: the seed of the order, the crops and the views.
        block: number of shards that are shuffled together; 0 for all.
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
        unlabeled_views = {"weak": views.weak, "strong": views.strong}
        purposes = [purpose for purpose, view in unlabeled_views.items() if view is not None] or ["weak"]
        self.parts = {"labeled": BatchPart(labeled, self._order("labeled", labeled, block), batch_size, ["labeled"])}
        if unlabeled is not None:
            order = self._order("unlabeled", unlabeled, block)
            self.parts["unlabeled"] = BatchPart(unlabeled, order, batch_size * mu, purposes)
        depth = max(1, min(PREFETCH_STEPS, PREFETCH_BYTES // (self._bytes() or 1)))
        self._ahead = Prefetcher(self._begin, labeled.decoder.concurrency, depth)

    def batch(self, step: int) -> Batch:
        parts = self.world.run_on_all(lambda: self._ahead.get(step))
        samples = {name: part.to_device() for name, part in parts.items()}
        return make_batch(self.views, self.seed, step, samples["labeled"], samples.get("unlabeled"))

    def sample_ids(self, step: int) -> dict[str, list[int]]:
        return {
            name: part.split.ids[rank_slots(part.order, self.world, step, part.size).samples].tolist()
            for name, part in self.parts.items()
        }

    def close(self) -> None:
        self._ahead.close()

    def _order(self, purpose: str, split: StreamSplit, block: int) -> EpochOrder:
        return sample_order(self.seed, purpose, len(split), CPU, split.layout, block)

    def _bytes(self) -> int:
        """Return the size in bytes of this rank's decoded images in one step."""
        return sum(
            part.size // self.world.size * len(part.purposes) * prod(part.split.decoder.shape)
            for part in self.parts.values()
        )

    def _begin(self, pool: ThreadPoolExecutor, step: int) -> Pending[Mapping[str, DecodedPart]]:
        begun = {name: self._begin_part(pool, step, part) for name, part in self.parts.items()}
        parts = {name: pending.value for name, pending in begun.items()}
        return Pending(parts, tuple(job for pending in begun.values() for job in pending.jobs))

    def _begin_part(self, pool: ThreadPoolExecutor, step: int, part: BatchPart) -> Pending[DecodedPart]:
        split, purposes = part.split, part.purposes
        places = rank_slots(part.order, self.world, step, part.size)
        crops = [
            partial(random_windows, derive_key(self.seed, step, f"{purpose} crop"), scale=(split.scale, 1.0))
            for purpose in (purposes if split.resized else purposes[:1])
        ]
        pending = split.begin(pool, places.samples, places.slots, crops)
        return Pending(DecodedPart(split, places, purposes, pending.value), pending.jobs)
