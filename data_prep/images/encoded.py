"""An image on its way into a shard: its bytes there, and what the manifest has to know of its pixels."""

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
    """Of its member: png, webp, jpg or npy."""
    content: bytes
    shape: Shape
    """[H, W, C] of what is stored."""
    sums: Sums


@dataclass(frozen=True)
class RejectedImage:
    """An image that cannot be had: its name as the user knows it, and why."""

    name: str
    reason: str


class ImagePart(Protocol):
    """Images with their labels, not yet encoded: a whole set in the source, or a shard's share of it.

    It goes to worker processes, so it must be picklable, and small where images lie in files.
    """

    @property
    def labels(self) -> Labels:
        """int64 [N], -1 where unknown."""

    def select(self, indices: Labels) -> "ImagePart":
        """Return the samples at ``indices``, in that order."""

    def encoded(self) -> Iterator[EncodedImage | RejectedImage]:
        """Encode one image after the other; N in all, in order."""
