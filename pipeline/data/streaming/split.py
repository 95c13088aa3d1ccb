"""A split that stays on disk: every sample is read and decoded when a batch needs it."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_prep.dataset.checksums import Mode
from data_prep.dataset.manifest import Manifest
from data_prep.formats.sample import SampleReader
from data_prep.system.errors import DataError
from data_prep.system.workers import available_cpus
from pipeline.data.sampling.block_order import ShardLayout
from pipeline.data.sampling.crop_windows import center_windows
from pipeline.data.streaming.backends import BACKENDS, DecoderSpec
from pipeline.data.streaming.decoders import Decoder
from pipeline.data.streaming.device_copy import DeviceCopier
from pipeline.data.streaming.prefetch import Pending, Prefetcher
from pipeline.distributed.world import World
from pipeline.task import view_side

EVAL_BATCH_SIZE = 128
"""Number of images in an evaluation batch."""
PREFETCH_BATCHES = 2
"""Number of evaluation batches that are read ahead."""

SlotCrop = Callable[[Tensor, Tensor], Tensor]
"""A function from slots int64 [B] and sizes int64 [B, 2] to windows int64 [B, 4]; see ``sampling.crop_windows``."""


@dataclass(frozen=True)
class StreamOptions:
    """How splits are streamed."""

    backend: str
    """``webdataset`` or ``dali``: a name in ``BACKENDS``."""
    size: int | None = None
    """The key ``augment.size``, in pixels."""
    scale: float = 0.08
    """The key ``augment.scale``, a fraction of the area."""
    workers: int | None = None
    """Number of threads; None for this rank's share of the CPUs."""
    verify: Mode = "once"
    """When the sha256 of the files is checked."""

    @property
    def threads(self) -> int:
        ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return self.workers or max(1, available_cpus() // ranks_here)


class Decoded(NamedTuple):
    """Decoded samples, on the device of the decoder."""

    views: list[Tensor]
    """Images [B, C, H, W] for each crop."""
    labels: Tensor
    """The classes of the samples, int64 [B], -1 if unknown."""


@dataclass(frozen=True)
class StreamSplit:
    """A split in its files. Sample n has the n-th smallest id, as in a resident split."""

    name: str
    """The folder and the split, for error messages."""
    reader: SampleReader
    """The encoded samples."""
    shards: tuple[int, ...]
    """Number of samples in each shard."""
    decoder: Decoder
    copier: DeviceCopier
    resized: bool
    """Whether images are cropped and resized; if not, crops are not called."""
    scale: float
    """Smallest fraction of the area that a random resized crop keeps."""

    @cached_property
    def layout(self) -> ShardLayout:
        return ShardLayout(torch.from_numpy(np.argsort(self.reader.keys, kind="stable")), self.shards)

    @property
    def ids(self) -> Tensor:
        """The positions of the samples in the source, int64 [N], ascending."""
        return torch.from_numpy(np.sort(self.reader.keys))

    def __len__(self) -> int:
        return len(self.reader)

    def begin(
        self, pool: ThreadPoolExecutor, samples: Tensor, slots: Tensor, crops: Sequence[SlotCrop]
    ) -> Pending[Decoded]:
        """Submit the decoding of ``samples``, int64 [B], for ``slots``, int64 [B]; each is decoded once."""
        shape, count, chunk = self.decoder.shape, len(samples), self.decoder.chunk
        views = [self.copier.allocate((count, *shape), self.decoder.dtype) for _ in crops]
        labels = torch.empty(count, dtype=torch.int64)
        places = self.layout.positions[samples].tolist()

        def decode(part: slice) -> None:
            labels[part] = self._decode(places[part], slots[part], crops, [view[part] for view in views])

        parts = (slice(first, first + chunk) for first in range(0, count, chunk))
        return Pending(Decoded(views, labels), tuple(pool.submit(decode, part) for part in parts))

    def batches(self, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this rank's share: images [B, C, H, W] on its device, with a central crop if any, and labels [B]."""
        starts = range(world.rank * EVAL_BATCH_SIZE, len(self), world.size * EVAL_BATCH_SIZE)
        return self.read([torch.arange(start, min(start + EVAL_BATCH_SIZE, len(self))) for start in starts])

    def read(self, parts: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images and labels, as :meth:`batches` does, of the samples int64 [B] of each part."""

        def begin(pool: ThreadPoolExecutor, number: int) -> Pending[Decoded]:
            return self.begin(pool, parts[number], parts[number], [_centered])

        ahead = Prefetcher(begin, self.decoder.concurrency, PREFETCH_BATCHES, len(parts))
        try:
            for number in range(len(parts)):
                decoded = ahead.get(number)
                images, labels = self.copier.to_device([*decoded.views, decoded.labels])
                yield images, labels
        finally:
            ahead.close()

    def _decode(self, places: list[int], slots: Tensor, crops: Sequence[SlotCrop], views: Sequence[Tensor]) -> Tensor:
        samples = [self.reader.read(place) for place in places]
        try:
            with self.copier.copy_stream():
                self.decoder(samples, [partial(crop, slots) for crop in crops], views)
        except DataError as error:
            raise DataError(f"{self.name}: {error}; prepare the data set again") from None
        return torch.tensor([sample.label for sample in samples])


def open_stream(folder: Path, manifest: Manifest, split: str, world: World, options: StreamOptions) -> StreamSplit:
    """Check and open a split. Each rank checks its share of the files that the backend reads.

    Raises:
        DataError: a file is missing or damaged, or differs from the manifest.
        UsageError: the backend is not installed, or ``augment.size`` is set for points.
    """
    shards = manifest.split(split)
    backend, share = BACKENDS[options.backend], slice(world.rank, None, world.size)
    world.run_on_all(lambda: backend.check(folder, manifest, split, options.verify, share))
    reader = world.run_on_all(lambda: backend.open(folder, manifest, split))
    decoder = backend.decoder(DecoderSpec(manifest, options.size, world.device, options.threads))
    return StreamSplit(
        f"{folder}: {split} split",
        reader,
        tuple(shard.samples for shard in shards),
        decoder,
        DeviceCopier(world.device, decoder.device),
        resized=view_side(manifest, options.size) is not None,
        scale=options.scale,
    )


def _centered(_: Tensor, sizes: Tensor) -> Tensor:
    return center_windows(sizes)
