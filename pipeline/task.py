"""The task that a network is built for: the shape of its images, their statistics, and the classes."""

from dataclasses import dataclass

from data_prep.dataset.manifest import Manifest
from data_prep.system.errors import UsageError

DEFAULT_SIDE = 224
"""Side in pixels of the views of images of many sizes, unless ``augment.size`` sets another."""


@dataclass(frozen=True)
class Task:
    """Images of one shape, their statistics, and the number of classes."""

    shape: tuple[int, int, int]
    """Shape (C, H, W) of the images."""
    mean: tuple[float, ...]
    """Mean of each channel over all training images, in the unit of the pixels (0 to 255 for pictures)."""
    std: tuple[float, ...]
    """Standard deviation of each channel, in the same unit."""
    classes: int
    """Number of classes."""

    @classmethod
    def of(cls, manifest: Manifest, size: int | None = None) -> "Task":
        """Return the task of a prepared set whose views have sides of ``size`` pixels; see :func:`view_side`."""
        height, width, channels = manifest.shape
        side = view_side(manifest, size)
        shape = (channels, side or height, side or width)
        return cls(shape, manifest.mean, manifest.std, len(manifest.classes))


def view_side(manifest: Manifest, size: int | None) -> int | None:
    """Return the side in pixels of the square views, or None if images keep the shape that they are stored in.

    Args:
        manifest: the manifest of the prepared set.
        size: the key ``augment.size``, in pixels.

    Raises:
        UsageError: a size is set for points, which have none.
    """
    height, width, _ = manifest.shape
    if manifest.varied:
        return size or DEFAULT_SIDE
    if size is None or (height, width) == (size, size):
        return None
    if manifest.image_format == "npy":
        raise UsageError(f"augment.size: {size} is for pictures, {manifest.dataset} has points; leave it out")
    return size
