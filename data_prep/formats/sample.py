"""One sample of a prepared split, and the interface of what reads samples from disk."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_prep.images.codecs import EXTENSIONS

IMAGE_EXTENSIONS = tuple(sorted(EXTENSIONS))
"""File extensions that an image may have in a tar or in a RecordIO list."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One encoded image with its label."""

    key: int
    """The index of the image in its source."""
    extension: str
    """The image's file extension: jpg, png, webp or npy."""
    image: bytes
    """The encoded image."""
    label: int
    """The class. For an unlabeled sample, the hidden true class, which training must not use; -1 where unknown."""

    @property
    def name(self) -> str:
        """The image's file name in a tar."""
        return f"{self.key:08d}.{self.extension}"


class SampleReader(Protocol):
    """Random access to the samples of one split, safe to use from several threads."""

    keys: NDArray[np.int64]
    """The keys of all samples, [N], in the order in which they were written."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Sample:
        """Read sample ``index``. Raises DataError if the bytes on disk are not those of that sample."""
