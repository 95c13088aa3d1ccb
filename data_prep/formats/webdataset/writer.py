"""Write WebDataset shards: USTAR archives with the members of a sample next to each other.

Nothing in the bytes depends on the machine or the time. A shard is written image by image, so memory does not grow with
its size, and its index is collected on the way.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from data_prep.dataset.manifest import Shard
from data_prep.dataset.shard_stats import ShardStats, SkippedImage
from data_prep.formats.webdataset.index import BLOCK, IndexEntry, padded, write_index
from data_prep.formats.webdataset.scan import LABEL_EXTENSION
from data_prep.images.encoded import EncodedImage, RejectedImage
from data_prep.images.pixel_stats import Sums
from data_prep.sources.base import ImagePart
from data_prep.system.atomic_files import open_durably, write_durably
from data_prep.system.errors import DataError
from data_prep.system.hashing_file import HashingFile


@dataclass(frozen=True)
class ShardJob:
    """One shard to write, with its images; it is sent to a worker process."""

    folder: Path
    name: str
    split: str
    keys: tuple[int, ...]
    """The keys of the samples in the order of writing."""
    part: ImagePart
    """The images of these keys and their labels."""
    classes: int
    """The number of classes."""
    skip: bool = False
    """Leave out images that cannot be read, instead of failing at the first."""


def write_shard(job: ShardJob) -> ShardStats:
    """Encode and write one shard and its index.

    Raises DataError on an image that cannot be read, a full disk or a read-only folder.
    """
    collected = _Collected(job)
    with suppress(_EmptyShardError), open_durably(job.folder / job.name) as file:
        hashing = HashingFile(file)
        _write_tar(collected, hashing)
        if not collected.keys:
            raise _EmptyShardError
    if not collected.keys:
        return collected.stats(None)
    index = write_index(collected.entries)
    index_sha256 = hashlib.sha256(index).hexdigest()
    shard = Shard(job.name, job.split, len(collected.keys), hashing.size, hashing.sha256, index_sha256)
    write_durably(job.folder / shard.index_name, index)
    return collected.stats(shard)


class _EmptyShardError(Exception):
    """No image of the shard could be read, so no file is left behind."""


@dataclass
class _Collected:
    """The statistics of a shard while it is being written."""

    job: ShardJob
    keys: list[int] = field(default_factory=list)
    entries: list[IndexEntry] = field(default_factory=list)
    skipped: list[SkippedImage] = field(default_factory=list)
    sums: Sums = field(default_factory=Sums)

    def __post_init__(self) -> None:
        self.counts = [0] * (self.job.classes + 1)  # the last one counts label -1
        self.smallest: tuple[int, ...] = ()
        self.largest: tuple[int, ...] = ()

    def images(self) -> Iterator[tuple[int, int, EncodedImage]]:
        """Yield key, label and image of each sample that can be read."""
        part = self.job.part
        for key, label, image in zip(self.job.keys, part.labels.tolist(), part.encoded(), strict=True):
            if isinstance(image, RejectedImage):
                self._reject(label, image)
            else:
                self._add(key, label, image)
                yield key, label, image

    def _reject(self, label: int, image: RejectedImage) -> None:
        if not self.job.skip:
            raise DataError(
                f"{image.name}: {image.reason}; repair or remove it, or leave such images out: --on-error skip"
            )
        self.skipped.append(SkippedImage(self.job.split, label, image.name, image.reason))

    def _add(self, key: int, label: int, image: EncodedImage) -> None:
        self.keys.append(key)
        self.counts[label] += 1
        self.sums += image.sums
        self.smallest = tuple(map(min, zip(self.smallest or image.shape, image.shape, strict=True)))
        self.largest = tuple(map(max, zip(self.largest or image.shape, image.shape, strict=True)))

    def stats(self, shard: Shard | None) -> ShardStats:
        """Return the statistics of the shard, which is None if none of its images could be read."""
        return ShardStats(
            piece=self.job.name,
            shard=shard,
            counts=tuple(self.counts[:-1]),
            unknown=self.counts[-1],
            keys=tuple(self.keys) if self.job.split == "labeled" else (),
            smallest=self.smallest,
            largest=self.largest,
            sums=self.sums,
            skipped=tuple(self.skipped),
        )


def _write_tar(collected: _Collected, file: HashingFile) -> None:
    """Write ``{key:08d}.{png|webp|jpg|npy}`` and ``{key:08d}.{cls|truth}`` of every sample, then the tar's end."""
    label_extension = LABEL_EXTENSION[collected.job.split]
    for key, label, image in collected.images():
        blocks, start = [], file.size
        for extension, payload in ((image.extension, image.content), (label_extension, b"%d" % label)):
            name = f"{key:08d}.{extension}"
            collected.entries.append(IndexEntry(name, start + BLOCK, len(payload)))
            blocks += [ustar_header(name, len(payload)), payload, bytes(padded(len(payload)) - len(payload))]
            start += BLOCK + padded(len(payload))
        file.write(b"".join(blocks))
    file.write(bytes(2 * BLOCK))
    file.write(bytes(-file.size % tarfile.RECORDSIZE))


def ustar_header(name: str, size: int) -> bytes:
    """Return the header of a regular file without owner and time.

    The bytes are those of the ``tarfile`` module, made ten times as fast.

    Args:
        name: ASCII of at most 100 characters.
        size: the size of the file in bytes, below 8 GiB.
    """
    block = bytearray(_blank_header())
    block[: len(name)] = name.encode()
    block[124:135] = b"%011o" % size
    block[148:156] = b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    return bytes(block)


@cache
def _blank_header() -> bytes:
    return tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
