"""What a network is built for."""

from dataclasses import dataclass

from data_prep.manifest import Manifest


@dataclass(frozen=True)
class Task:
    """Images of one shape, their statistics, and the number of classes."""

    shape: tuple[int, int, int]
    """(C, H, W)."""
    mean: tuple[float, ...]
    """Per channel, on the 0..255 scale, over all training images."""
    std: tuple[float, ...]
    classes: int

    @classmethod
    def of(cls, manifest: Manifest) -> "Task":
        height, width, channels = manifest.shape
        return cls((channels, height, width), manifest.mean, manifest.std, len(manifest.classes))
