"""A sample as it lies in a prepared split, and what can give it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_prep.images.codecs import EXTENSIONS


@dataclass(frozen=True, slots=True)
class Stored:
    """One sample: its key, which is its index in the source, and the encoded image."""

    key: int
    extension: str
    """Of the image: jpg, png, webp or npy."""
    image: bytes
    label: int
    """The class; of unlabeled samples the hidden truth, -1 where nobody knows it."""

    @property
    def name(self) -> str:
        """The image's name in a tar."""
        return f"{self.key:08d}.{self.extension}"


class Store(Protocol):
    """The samples of one split, any of them at any time, from any thread."""

    keys: NDArray[np.int64]
    """[N], in the order of writing."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Stored:
        """Read sample ``index``. Raises DataError if what lies there is not that sample."""


IMAGE_EXTENSIONS = tuple(sorted(EXTENSIONS))
