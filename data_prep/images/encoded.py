"""An image as a shard will hold it, and the interface of a part of a source that yields such images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from data_prep.images.codecs import Shape
from data_prep.images.pixel_stats import Sums
from data_prep.system.types import Labels


@dataclass(frozen=True)
class EncodedImage:
    """An image as a shard holds it."""

    extension: str
    """The extension of its member in the tar: png, webp, jpg or npy."""
    content: bytes
    shape: Shape
    """[H, W, C] of the stored image."""
    sums: Sums
    """The sums of its pixel values, for the statistics in the manifest."""


@dataclass(frozen=True)
class RejectedImage:
    """An image that cannot be used."""

    name: str
    """The file's name below the source."""
    reason: str


class ImagePart(Protocol):
    """Images with their labels, not yet encoded: a whole set of a source, or the samples of one shard.

    It is sent to worker processes, so it must be picklable, and small if its images are files.
    """

    @property
    def labels(self) -> Labels:
        """The labels, int64 [N]; -1 if unknown."""

    def select(self, indices: Labels) -> "ImagePart":
        """Return the samples at ``indices``, in that order."""

    def encoded(self) -> Iterator[EncodedImage | RejectedImage]:
        """Encode one image after the other: N in all, in order."""
