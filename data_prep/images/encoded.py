"""What becomes of one image of a source: its bytes as a shard will hold them, or the reason why it cannot be used."""

from dataclasses import dataclass

from data_prep.images.codecs import Shape
from data_prep.images.pixel_stats import Sums


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
