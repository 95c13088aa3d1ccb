"""A prepared split, checked and decoded once into one tensor on the training device.

With small images, most of the time of a loader is spent on decoding and on Python code for each sample. Decoded once,
CIFAR-10 takes 184 MB, which fits on the device.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_prep.dataset.checksums import check_shard
from data_prep.dataset.manifest import Manifest, Shard
from data_prep.dataset.mirror import local_path
from data_prep.formats.webdataset.scan import read_shard
from data_prep.images.codecs import CODECS, decode_image
from pipeline.data.sampling.block_order import ShardLayout
from pipeline.distributed.world import World

EVAL_BATCH_SIZE = 512
"""Number of images in an evaluation batch."""


@dataclass(frozen=True)
class ResidentSplit:
    """All samples of a split, in the order of their ids."""

    ids: Tensor
    """The positions of the samples in the source, int64 [N], ascending."""
    images: Tensor
    """The decoded images [N, C, H, W], uint8 pictures or float32 points."""
    labels: Tensor
    """The classes of the samples, int64 [N]; for unlabeled samples the true class, -1 if it is unknown."""
    layout: ShardLayout | None = None
    """Where the samples are in their shards; the order of samples needs it if it mixes only a block of shards."""

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this rank's share: images [B, C, H, W] without augmentation, and labels int64 [B]."""
        for start in range(world.rank * EVAL_BATCH_SIZE, len(self), world.size * EVAL_BATCH_SIZE):
            yield self.images[start : start + EVAL_BATCH_SIZE], self.labels[start : start + EVAL_BATCH_SIZE]

    def read(self, parts: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images [B, C, H, W] without augmentation and the labels of the samples int64 [B] of each part."""
        for samples in parts:
            yield self.images[samples], self.labels[samples]


def load_split(folder: Path, manifest: Manifest, split: str, world: World) -> ResidentSplit:
    """Check, read and decode a split. Each rank decodes its share of the shards and sends it to the others.

    Raises:
        DataError: a shard is missing or damaged.
    """
    shards = manifest.split(split)
    own = shards[world.rank :: world.size]
    mine = world.run_on_all(lambda: [decode_shard(folder, shard, manifest) for shard in own])
    no_images = np.zeros((0, *manifest.shape), CODECS[manifest.image_format].dtype)
    local = (
        _join([ids for ids, _, _ in mine], np.zeros(0, np.int64)),
        _join([images for _, images, _ in mine], no_images),
        _join([labels for _, _, labels in mine], np.zeros(0, np.int64)),
    )
    sizes = [sum(shard.samples for shard in shards[rank :: world.size]) for rank in range(world.size)]
    ids, images, labels = (world.gather_rows(torch.from_numpy(array), sizes) for array in local)
    order = torch.argsort(ids)
    device = world.device
    chosen = images[order].permute(0, 3, 1, 2).contiguous()
    layout = ShardLayout(_written(shards, world.size)[order], tuple(shard.samples for shard in shards))
    return ResidentSplit(ids[order].to(device), chosen.to(device), labels[order].to(device), layout)


def decode_shard(folder: Path, shard: Shard, manifest: Manifest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check a shard against the manifest; return its ids [n], images [n, H, W, C] and labels [n].

    Raises:
        DataError: the shard is missing or damaged.
    """
    shape, image_format = manifest.shape, manifest.image_format
    path = local_path(folder, shard.name)
    check_shard(folder, shard)
    samples = list(read_shard(path, shard))
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda sample: decode_image(sample.image, shape, image_format), samples, chunksize=256))
    labels = np.array([sample.label for sample in samples], np.int64)
    return np.array([sample.key for sample in samples], np.int64), np.stack(images), labels


def _written(shards: Sequence[Shard], ranks: int) -> Tensor:
    """Return int64 [N]: the position over all shards of each sample, in the order in which the ranks are gathered."""
    starts = list(accumulate((shard.samples for shard in shards), initial=0))
    spans = [range(*edges) for edges in pairwise(starts)]
    gathered = [place for rank in range(ranks) for span in spans[rank::ranks] for place in span]
    return torch.tensor(gathered, dtype=torch.int64)


def _join(arrays: Iterable[np.ndarray], empty: np.ndarray) -> np.ndarray:
    return np.concatenate([empty, *arrays])
