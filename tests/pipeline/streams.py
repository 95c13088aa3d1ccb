"""What the tests of streams share: a reader in memory, prepared digits, splits of both kinds, loaders on any rank."""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data_prep.dataset.manifest import Manifest
from data_prep.formats.sample import Sample
from pipeline.data.augment import AugmentOptions, build_views
from pipeline.data.batches.assemble import Views
from pipeline.data.batches.batch import Batch
from pipeline.data.resident.loader import ResidentLoader
from pipeline.data.resident.split import load_split
from pipeline.data.streaming.dali import DaliDecoder
from pipeline.data.streaming.decoders import Decoder, WindowDecoder
from pipeline.data.streaming.device_copy import DeviceCopier
from pipeline.data.streaming.loader import StreamLoader
from pipeline.data.streaming.split import StreamOptions, StreamSplit, open_stream
from pipeline.distributed.world import World
from tests.pipeline.conftest import ALONE, CPU

BACKENDS = ("webdataset", "dali")
SIDE = 24
SETTINGS: dict[str, Any] = {"batch_size": 8, "mu": 3, "seed": 5}


class Alone(World):
    """One rank of several, in a world where no other rank reports an error."""

    def any(self, flag: bool) -> bool:
        return flag

    def gather(self, value: Any) -> list[Any]:
        return [value]


@dataclass
class MemoryStore:
    samples: list[Sample]

    @property
    def keys(self) -> Any:
        return np.array([sample.key for sample in self.samples], np.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Sample:
        return self.samples[index]


def encode(pixels: Any, image_format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def smooth(height: int, width: int, seed: int) -> Any:
    """Return pixels [H, W, 3] with edges and gradients, like a photograph."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def photographs(count: int, start: int = 0) -> list[Sample]:
    """Return JPEG samples of many sizes, whose keys are not sorted."""
    sizes = [(40 + 7 * (n % 5), 30 + 11 * (n % 7)) for n in range(count)]
    images = [encode(smooth(*size, start + n), quality=95) for n, size in enumerate(sizes)]
    keys = np.random.default_rng(start).permutation(count)
    return [Sample(int(key), "jpg", image, int(key) % 4) for key, image in zip(keys, images, strict=True)]


def varied_split(samples: list[Sample], backend: str = "webdataset", workers: int = 2) -> StreamSplit:
    """Return a stream of images of many sizes in three shards, of which one has a single sample."""
    shards = (len(samples) // 2, len(samples) - len(samples) // 2 - 1, 1)
    decoder: Decoder = WindowDecoder(3, SIDE, workers)
    if backend == "dali":
        decoder = DaliDecoder((3, SIDE, SIDE), CPU, resized=True, workers=workers)
    return StreamSplit("folder", MemoryStore(samples), shards, decoder, DeviceCopier(CPU, CPU), resized=True, scale=0.3)


def varied_loader(backend: str = "webdataset", world: World = ALONE, workers: int = 2, **changes: Any) -> StreamLoader:
    labeled, unlabeled = (varied_split(photographs(*which), backend, workers) for which in ((10,), (37, 100)))
    weak, strong = build_views(AugmentOptions(cutout=8), SIDE, SIDE)
    return StreamLoader(labeled, unlabeled, Views(weak, weak, strong), world, **SETTINGS | changes)


def stored_splits(folder: Path, manifest: Manifest, backend: str | None, world: World = ALONE) -> list[Any]:
    """Return the labeled and the unlabeled split of a prepared set; resident without a backend."""
    names = ("labeled", "unlabeled")
    if backend is None:
        return [load_split(folder, manifest, name, world) for name in names]
    return [open_stream(folder, manifest, name, world, StreamOptions(backend, workers=2)) for name in names]


def stored_loader(
    folder: Path, manifest: Manifest, backend: str | None, world: World = ALONE, **changes: Any
) -> StreamLoader | ResidentLoader:
    height, width, _ = manifest.shape
    pictures = manifest.image_format != "npy"
    options = AugmentOptions(flip=pictures, pad=0, pool="digits", ops=2 * pictures, cutout=0)
    weak, strong = build_views(options, height, width)
    splits = stored_splits(folder, manifest, backend, replace(world, rank=0, size=1) if backend is None else world)
    kind = StreamLoader if backend else ResidentLoader
    views = Views(weak, weak, strong, alternate_flip=pictures)
    return kind(*splits, views, world, **SETTINGS | changes)


def ranks(size: int) -> list[World]:
    return [Alone(rank, size, CPU) for rank in range(size)]


def together(batches: list[Batch]) -> list[Tensor]:
    """Return the tensors of a global batch, concatenated from those of its ranks."""
    return [torch.cat(tensors) for tensors in zip(*(batch.tensors() for batch in batches), strict=True)]


def same(left: Batch, right: Batch) -> bool:
    return left.key == right.key and all(map(torch.equal, left.tensors(), right.tensors()))
