"""STL-10 from the official binary files (Coates et al., 2011, https://cs.stanford.edu/~acoates/stl10).

The URL and md5 are those that torchvision states. The 100,000 unlabeled images follow the 5,000 training images; they
are of more classes than the ten, and their classes are not published. The files count the classes from 1; here they
begin at 0.
"""

import hashlib
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from data_prep.images.codecs import Pixels
from data_prep.images.encoded import EncodedImage, RejectedImage
from data_prep.sources.archives.nested_tar import check_member
from data_prep.sources.base import ArrayPart, LoadOptions, RawSet, Source
from data_prep.storage.download import PublishedFile, check_md5, fetch
from data_prep.system.atomic_files import cannot_write, make_folder
from data_prep.system.errors import DataError
from data_prep.system.paths import cache_folder
from data_prep.system.types import Labels

ARCHIVE = PublishedFile("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb")
FOLDER = "stl10_binary"
FILES = {
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
MAX_BYTES = 1 << 32
"""The most bytes of a member of the archive; unlabeled_X.bin has 2.8 GB."""
CHUNK_BYTES = 1 << 20
SIDE = 96
IMAGE_BYTES = 3 * SIDE * SIDE

File = BufferedReader | FileIO


@dataclass(frozen=True)
class JoinedPart:
    """A part of a source (:class:`data_prep.sources.base.ImagePart`) that shows several arrays as if they were one."""

    arrays: tuple[Pixels, ...]
    """Each [n, 96, 96, 3]; N images in all."""
    labels: Labels
    """int64 [N]."""
    image_format: str

    def select(self, indices: Labels) -> ArrayPart:
        """Return copies of the samples at ``indices``."""
        images = np.empty((len(indices), SIDE, SIDE, 3), dtype=np.uint8)
        first = 0
        for array in self.arrays:
            here = (indices >= first) & (indices < first + len(array))
            images[here] = array[indices[here] - first]
            first += len(array)
        return ArrayPart(images, self.labels[indices], self.image_format)

    def encoded(self) -> Iterator[EncodedImage | RejectedImage]:
        """Encode one image after the other."""
        for array in self.arrays:
            yield from ArrayPart(array, self.labels, self.image_format).encoded()


def load(options: LoadOptions) -> RawSet:
    """Map both sets into memory, uint8 [N, 96, 96, 3]; unlabeled images have the label -1. Raises DataError."""
    path = options.path or fetch(ARCHIVE)
    with ExitStack() as stack:
        files: dict[str, File] = {}
        for name, file in _open(path) if path.is_dir() else _unpack(path):
            files[name] = file
            stack.callback(file.close)
        if missing := [name for name in FILES if name not in files]:
            raise DataError(f"{path}: {', '.join(missing)} missing; --source takes {FOLDER} or {ARCHIVE.name}")
        checksums = {name: _check(path, name, files[name], checksum=options.checksum) for name in FILES}
        train, unlabeled, test = (_images(path, f"{part}_X.bin", files) for part in ("train", "unlabeled", "test"))
        train_labels = _labels(path, "train_y.bin", files, len(train))
        test_labels = _labels(path, "test_y.bin", files, len(test))
    labels = np.concatenate([train_labels, np.full(len(unlabeled), -1, dtype=np.int64)])
    everything = JoinedPart((train, unlabeled), labels, options.image_format)
    return RawSet(CLASSES, everything, ArrayPart(test, test_labels, options.image_format), checksums)


def _open(source: Path) -> Iterator[tuple[str, File]]:
    """Open the files in the folder ``source`` or in its subfolder ``stl10_binary``.

    If neither holds any of them, unpack them from the archive in ``source``.
    """
    folders = [folder for folder in (source, source / FOLDER) if any((folder / name).is_file() for name in FILES)]
    if not folders and (source / ARCHIVE.name).is_file():
        yield from _unpack(source / ARCHIVE.name)
    for path in (folder / name for folder in folders[:1] for name in FILES):
        if path.is_file():
            yield path.name, path.open("rb")


def _unpack(source: Path) -> Iterator[tuple[str, File]]:
    """Unpack the files into unnamed ones in the cache folder, where they take 3 GB as long as they are in use."""
    make_folder(cache_folder())
    try:
        with tarfile.open(source, "r:*") as archive:
            for member in archive:
                check_member(source, member, MAX_BYTES)
                name = PurePosixPath(member.name).name
                if name in FILES and (content := archive.extractfile(member)):
                    yield name, _copy(content)
    except FileNotFoundError:
        raise DataError(f"--source {source} does not exist") from None
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{source}: not a readable tar archive ({' '.join(str(error).split())}); get it again"
        ) from None


def _copy(content: IO[bytes]) -> FileIO:
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile(dir=cache_folder(), buffering=0))
        while chunk := content.read(CHUNK_BYTES):
            _write(file, chunk)
        stack.pop_all()  # the caller closes the file
    return file


def _write(file: FileIO, chunk: bytes) -> None:
    remaining = memoryview(chunk)
    try:
        while remaining:
            remaining = remaining[file.write(remaining) :]
    except OSError as error:
        raise cannot_write(cache_folder(), error) from None


def _check(source: Path, name: str, file: File, *, checksum: bool) -> str:
    """Return the sha256 of a file; with ``checksum`` it must be the published one."""
    if checksum:
        check_md5(file, FILES[name], f"{source}: {name}")
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _images(source: Path, name: str, files: dict[str, File]) -> Pixels:
    """Map the images [N, 96, 96, 3] of a file, which stores one channel after the other, each column by column."""
    size = files[name].seek(0, os.SEEK_END)
    if size == 0 or size % IMAGE_BYTES:
        raise DataError(f"{source}: {name} has {size} bytes, which is no whole number of images; get it again")
    values: Pixels = np.memmap(files[name], dtype=np.uint8, mode="r")
    return values.reshape(-1, 3, SIDE, SIDE).transpose(0, 3, 2, 1)


def _labels(source: Path, name: str, files: dict[str, File], count: int) -> Labels:
    """Read the labels int64 [count], from 0 on. Raises DataError."""
    files[name].seek(0)
    labels = np.frombuffer(files[name].read(), dtype=np.uint8).astype(np.int64) - 1
    if len(labels) != count:
        raise DataError(f"{source}: {name} has {len(labels)} labels for {count} images; get it again")
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise DataError(f"{source}: {name} has other labels than 1 to {len(CLASSES)}; get it again")
    return labels


SOURCE = Source("stl10", CLASSES, labels=1000, val=1000, shard_size=1000, load=load, files=(FOLDER, ARCHIVE.name))
