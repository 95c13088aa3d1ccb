"""Images in files or in archives, which are read and normalized one at a time, so memory does not grow with them."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache

import numpy as np

from data_prep.images.encoded import EncodedImage, RejectedImage
from data_prep.images.normalize import Normalizer
from data_prep.sources.image_files.references import NO_ARCHIVE, References
from data_prep.system.errors import DataError
from data_prep.system.types import Labels

MAX_FILE_BYTES = 1 << 30
"""A larger file is no photograph, and reading it could exhaust the memory."""
FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True)
class FilePart:
    """A part of a source (:class:`data_prep.sources.base.ImagePart`) whose images are referred to, not held."""

    labels: Labels
    """int64 [N]; -1 if unknown."""
    references: References
    normalizer: Normalizer

    @classmethod
    def join(cls, parts: Sequence["FilePart"]) -> "FilePart":
        """Concatenate parts that have the same normalizer."""
        labels = np.concatenate([part.labels for part in parts])
        return cls(labels, References.join([part.references for part in parts]), parts[0].normalizer)

    def select(self, indices: Labels) -> "FilePart":
        """Return the references at ``indices``, which are small enough to be sent to a worker process."""
        return FilePart(self.labels[indices], self.references.select(indices), self.normalizer)

    def encoded(self) -> Iterator[EncodedImage | RejectedImage]:
        """Read and normalize one image after the other; reject those that cannot be used."""
        with Reader(self.references) as reader:
            for index in range(len(self.labels)):
                yield self._encode(reader, index)

    def _encode(self, reader: "Reader", index: int) -> EncodedImage | RejectedImage:
        try:
            return self.normalizer(reader.read(index))
        except DataError as error:
            return RejectedImage(self.references.shown(index), str(error))


class Reader(ExitStack):
    """Reads images by reference. Archives stay open until it is closed."""

    def __init__(self, references: References) -> None:
        super().__init__()
        self._references = references
        self._open_archive = cache(self._open)
        self._real = cache(os.path.realpath)

    def read(self, index: int) -> bytes:
        """Return the bytes of one image.

        Raises DataError with the reason: unreadable, no regular file, over 1 GiB, or a link that leads out of its
        folder. The caller adds the name.
        """
        references = self._references
        root = references.roots[references.root[index]]
        try:
            if references.offsets[index] == NO_ARCHIVE:
                return _read_file(root.below(references.names[index]), self._real(root.path))
            return self._read_member(root.path, int(references.offsets[index]), int(references.sizes[index]))
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}") from None

    def _read_member(self, archive: bytes, offset: int, size: int) -> bytes:
        content = os.pread(self._open_archive(archive), size, offset)
        if len(content) != size:
            raise DataError("the archive ends inside this image; get the archive again")
        return content

    def _open(self, archive: bytes) -> int:
        descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
        self.callback(os.close, descriptor)
        return descriptor


def _read_file(path: bytes, folder: bytes) -> bytes:
    """Read a file, which must be below the real path ``folder``."""
    real = os.path.realpath(path, strict=True)
    if not real.startswith(folder.rstrip(b"/") + b"/"):
        raise DataError("a link that leads out of the source folder: refused")
    status = os.lstat(real)
    if not stat.S_ISREG(status.st_mode):
        raise DataError("no regular file: refused")
    if status.st_size > MAX_FILE_BYTES:
        raise DataError(f"{status.st_size} bytes, more than {MAX_FILE_BYTES}: refused")
    with os.fdopen(os.open(real, FLAGS), "rb") as file:
        return file.read(status.st_size)
