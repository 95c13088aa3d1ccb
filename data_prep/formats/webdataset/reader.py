"""Read single samples of a split in any order: the index of a tar says where each is, and one read of the tar gets it.

Training and conversion read this way. To read a whole tar without its index, use ``scan.py``. The index is not trusted:
the headers in the tar must agree with it. Nothing is extracted or unpickled.
"""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np

from data_prep.dataset.checksums import expected_index, expected_tar
from data_prep.dataset.manifest import Manifest, Shard
from data_prep.dataset.mirror import use_file
from data_prep.dataset.mirror_url import is_mirror
from data_prep.formats.sample import IMAGE_EXTENSIONS, Sample
from data_prep.formats.webdataset.index import BLOCK, TarIndex, padded, read_index
from data_prep.formats.webdataset.scan import LABEL_EXTENSION
from data_prep.system.errors import DataError
from data_prep.system.file_handles import OpenFiles, open_remedy, open_sized

LABEL = {"cls": re.compile(rb"\d{1,6}"), "truth": re.compile(rb"-1|\d{1,6}")}
MIRROR_FILES = 16
"""The most tars of a mirror that are open at a time. A tar that is removed from the cache takes space on the disk until
it is closed."""
REMEDY = "run the same `smpl-data prepare` again"


def open_tars(folder: Path, manifest: Manifest, split: str) -> "TarReader":
    """Open a split by the indices of its shards; the tars are opened at their first read.

    Raises DataError if an index is missing, damaged or not the manifest's.
    """
    shards = manifest.split(split)
    return TarReader(folder, shards, [_load_index(folder, shard) for shard in shards], len(manifest.classes))


class TarReader:
    """A split in tars. Its index takes about 26 bytes of memory a sample.

    Args:
        folder: the folder of the prepared set.
        shards: the shards of one split, in order.
        indices: the index of each shard.
        classes: the number of classes; labels are below it.
    """

    def __init__(self, folder: Path, shards: tuple[Shard, ...], indices: list[TarIndex], classes: int) -> None:
        self.folder, self.shards, self.classes = folder, shards, classes
        self.keys = np.concatenate([np.zeros(0, np.int64), *(index.keys for index in indices)])
        self._offsets = np.concatenate([np.zeros(0, np.int64), *(index.offsets for index in indices)])
        self._sizes = np.concatenate([np.zeros(0, np.int64), *(index.sizes for index in indices)])
        self._extensions = np.concatenate([np.zeros(0, np.uint8), *(index.extensions for index in indices)])
        label_sizes = (index.label_sizes.astype(np.uint8) for index in indices)
        self._label_sizes = np.concatenate([np.zeros(0, np.uint8), *label_sizes])
        self._label_extension = indices[0].label_extension if indices else ""
        self._starts = list(accumulate((len(index) for index in indices), initial=0))
        limit = MIRROR_FILES if is_mirror(folder) else None
        self._files = OpenFiles(partial(_open_tar, folder, shards), limit)

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> Sample:
        """Read sample ``index``. Raises DataError if the bytes on disk are not those of that sample."""
        if not 0 <= index < len(self.keys):
            raise IndexError(index)
        shard = bisect_right(self._starts, index) - 1
        return self._unpack(index, shard, self._read_members(index, shard))

    def read_checked(self) -> Iterator[Sample]:
        """Yield all samples in order, and compare the sha256 of each shard at its end. Raises DataError."""
        for number, shard in enumerate(self.shards):
            digest = hashlib.sha256()
            stop = 0
            for index in range(self._starts[number], self._starts[number + 1]):
                content = self._read_members(index, number)
                digest.update(content)
                stop += len(content)
                yield self._unpack(index, number, content)
            rest = self._read(number, stop, shard.bytes - stop)
            digest.update(rest)
            if problem := expected_tar(shard).mismatch(stop + len(rest), digest.hexdigest()):
                raise DataError(f"{self.folder / shard.name}: {problem}; remove it and {REMEDY}")

    def _read_members(self, index: int, shard: int) -> bytes:
        """Return the bytes of a sample's two members, each a header and its payload in whole blocks."""
        size = padded(int(self._sizes[index])) + 3 * BLOCK
        return self._read(shard, int(self._offsets[index]) - BLOCK, size)

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        try:
            return self._files.read(shard, offset, size)
        except OSError as error:
            path = self.folder / self.shards[shard].name
            raise DataError(f"{path}: {error.strerror}; {open_remedy(error, REMEDY)}") from None

    def _unpack(self, index: int, shard: int, content: bytes) -> Sample:
        key, size, label_size = int(self.keys[index]), int(self._sizes[index]), int(self._label_sizes[index])
        extension, label_extension = IMAGE_EXTENSIONS[self._extensions[index]], self._label_extension
        middle = BLOCK + padded(size)
        if (
            len(content) != middle + 2 * BLOCK
            or not _is_member(content, 0, f"{key:08d}.{extension}", size)
            or not _is_member(content, middle, f"{key:08d}.{label_extension}", label_size)
        ):
            raise self._stale(shard, key)
        label = content[middle + BLOCK : middle + BLOCK + label_size]
        if LABEL[label_extension].fullmatch(label) is None or int(label) >= self.classes:
            what = f"sample {key:08d} has label {label!r} of {self.classes} classes"
            raise DataError(f"{self.folder / self.shards[shard].name}: {what}; remove it and {REMEDY}")
        return Sample(key, extension, content[BLOCK : BLOCK + size], int(label))

    def _stale(self, shard: int, key: int) -> DataError:
        tar, index = self.shards[shard].name, self.shards[shard].index_name
        what = f"sample {key:08d} is not where {index} says"
        return DataError(f"{self.folder / tar}: the index is stale: {what}; remove both and {REMEDY}")


def _load_index(folder: Path, shard: Shard) -> TarIndex:
    path = folder / shard.index_name
    try:
        content = path.read_bytes()
        index = read_index(content)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {open_remedy(error, REMEDY)}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}; remove it and {REMEDY}") from None
    problem = expected_index(shard).mismatch_of(content)
    if not problem and (len(index), index.label_extension) != (shard.samples, LABEL_EXTENSION[shard.split]):
        problem = f"it has {len(index)} samples, the manifest says {shard.samples} of {shard.split}"
    if problem:
        raise DataError(f"{path}: the index is stale: {problem}; remove it and {REMEDY}")
    return index


def _open_tar(folder: Path, shards: tuple[Shard, ...], number: int) -> int:
    shard = shards[number]
    try:
        return use_file(folder, shard.name, partial(open_sized, size=shard.bytes))
    except ValueError as error:
        raise DataError(f"{folder / shard.name}: {error} by the manifest; remove it and {REMEDY}") from None


def _is_member(content: bytes, start: int, name: str, size: int) -> bool:
    """Return whether the USTAR header of a regular file of this name and size, without a prefix, is at ``start``."""
    return (
        content.startswith(name.encode() + b"\0", start)
        and content.startswith(b"%011o\0" % size, start + 124)
        and content.startswith(b"0\0", start + 156)
        and content.startswith(b"ustar\000", start + 257)
        and content.startswith(b"\0", start + 345)
    )
