"""What a network is built for."""

from dataclasses import dataclass

from data_prep.dataset.manifest import Manifest
from data_prep.system.errors import UsageError

USUAL_SIDE = 224
"""Pixels, where images have sizes of their own and nothing else is asked for."""


@dataclass(frozen=True)
class Task:
    """Images of one shape, their statistics, and the number of classes."""

    shape: tuple[int, int, int]
    """(C, H, W)."""
    mean: tuple[float, ...]
    """Per channel over all training images, in their own units: 0..255 of pictures."""
    std: tuple[float, ...]
    classes: int

    @classmethod
    def of(cls, manifest: Manifest, size: int | None = None) -> "Task":
        """Return the task of a prepared set whose views have ``size`` pixels a side; see :func:`view_side`."""
        height, width, channels = manifest.shape
        side = view_side(manifest, size)
        shape = (channels, side or height, side or width)
        return cls(shape, manifest.mean, manifest.std, len(manifest.classes))


def view_side(manifest: Manifest, size: int | None) -> int | None:
    """Return the side of the squares that images are cut and resized to; None where they stay as they are stored.

    Raises:
        UsageError: a size is asked of points.
    """
    height, width, _ = manifest.shape
    if manifest.varied:
        return size or USUAL_SIDE
    if size is None or (height, width) == (size, size):
        return None
    if manifest.image_format == "npy":
        raise UsageError(f"augment.size: {size} is asked for, {manifest.dataset} has points; leave it out")
    return size
