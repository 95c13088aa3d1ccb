"""Write WebDataset shards: USTAR, members of a sample adjacent, nothing of this machine or hour in the bytes.

A shard goes to the disk image by image, so memory does not grow with it, and its index is written as it grows.
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
from data_prep.formats.webdataset.index import BLOCK, Member, padded, tar_index
from data_prep.formats.webdataset.scan import LABEL_EXTENSION
from data_prep.images.encoded import EncodedImage, ImagePart, RejectedImage
from data_prep.images.pixel_stats import Sums
from data_prep.system.atomic_files import open_durably, write_durably
from data_prep.system.errors import DataError
from data_prep.system.hashing_file import HashingFile


@dataclass(frozen=True)
class ShardJob:
    """One shard to write: keys [N] in writing order, and their images with labels.

    ``skip`` leaves out images that cannot be had; without it the first of them ends the preparation.
    """

    folder: Path
    name: str
    split: str
    keys: tuple[int, ...]
    part: ImagePart
    classes: int
    skip: bool = False


def write_shard(job: ShardJob) -> ShardStats:
    """Encode, write and rename one shard and its index.

    Raises DataError on an image that cannot be had, a full disk or a read-only folder.
    """
    tally = _Tally(job)
    path = job.folder / job.name
    with suppress(_NothingWrittenError), open_durably(path) as file:
        hashing = HashingFile(file)
        _pack(tally, hashing)
        if not tally.keys:
            raise _NothingWrittenError
    if not tally.keys:
        return tally.receipt(None)
    index = tar_index(tally.members)
    index_sha256 = hashlib.sha256(index).hexdigest()
    shard = Shard(job.name, job.split, len(tally.keys), hashing.size, hashing.sha256, index_sha256)
    write_durably(job.folder / shard.index_name, index)
    return tally.receipt(shard)


class _NothingWrittenError(Exception):
    """No image of the piece could be had: it leaves no file."""


@dataclass
class _Tally:
    """What a shard's receipt is made of."""

    job: ShardJob
    keys: list[int] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    skipped: list[SkippedImage] = field(default_factory=list)
    sums: Sums = field(default_factory=Sums)

    def __post_init__(self) -> None:
        self.counts = [0] * (self.job.classes + 1)  # the last one is that of label -1
        self.smallest: tuple[int, ...] = ()
        self.largest: tuple[int, ...] = ()

    def images(self) -> Iterator[tuple[int, int, EncodedImage]]:
        """Yield key, label and image of each sample that can be had."""
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
                f"{image.name}: {image.reason}; mend or remove it, or leave such images out: --on-error skip"
            )
        self.skipped.append(SkippedImage(self.job.split, label, image.name, image.reason))

    def _add(self, key: int, label: int, image: EncodedImage) -> None:
        self.keys.append(key)
        self.counts[label] += 1
        self.sums += image.sums
        self.smallest = tuple(map(min, zip(self.smallest or image.shape, image.shape, strict=True)))
        self.largest = tuple(map(max, zip(self.largest or image.shape, image.shape, strict=True)))

    def receipt(self, shard: Shard | None) -> ShardStats:
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


def _pack(tally: _Tally, file: HashingFile) -> None:
    """Write ``{key:08d}.{png|webp|jpg|npy}`` and ``{key:08d}.{cls|truth}`` for every sample, then the tar's end."""
    label_extension = LABEL_EXTENSION[tally.job.split]
    for key, label, image in tally.images():
        blocks, start = [], file.size
        for extension, payload in ((image.extension, image.content), (label_extension, b"%d" % label)):
            name = f"{key:08d}.{extension}"
            tally.members.append(Member(name, start + BLOCK, len(payload)))
            blocks += [ustar_header(name, len(payload)), payload, bytes(padded(len(payload)) - len(payload))]
            start += BLOCK + padded(len(payload))
        file.write(b"".join(blocks))
    file.write(bytes(2 * BLOCK))
    file.write(bytes(-file.size % tarfile.RECORDSIZE))


def ustar_header(name: str, size: int) -> bytes:
    """The header of a plain file that is nobody's and of no time; the bytes are tarfile's, in a tenth of its time.

    ``name`` is ASCII of at most 100 characters, ``size`` in bytes and below 8 GiB.
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
