"""Cutout (DeVries and Taylor, 2017, arXiv 1708.04552): replace a square of each image by gray."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.sampling.stateless_rng import uniform


@dataclass(frozen=True)
class Cutout:
    """Fill a square of each image, whose center is uniform over the image. Parts outside of the image are cut off.

    Args:
        size: side of the square in pixels; with 0 images do not change.
        fill: gray level, 0..255.
        random_size: whether the side is uniform over 1..``size``, for each image, as in USB.
    """

    size: int = 16
    fill: int = 128
    random_size: bool = False

    def __call__(self, images: Tensor, key: int, samples: Tensor) -> Tensor:
        if not self.size:
            return images
        center, chance = uniform(key, samples, 3).split([2, 1], dim=1)
        side = 1 + (chance * self.size).long() if self.random_size else self.size
        covered = square(center, side, *images.shape[-2:])[:, None].to(torch.uint8)
        return (images * (1 - covered) + self.fill * covered).contiguous()


def square(center: Tensor, side: Tensor | int, height: int, width: int) -> Tensor:
    """Return bool [B, height, width]: the pixels that a square covers.

    Args:
        center: float32 [B, 2] in [0, 1): the row and the column of its center, as fractions of the height and width.
        side: int64 [B, 1], or the side of all squares, in pixels.
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    rows, columns = _covered(center[:, :1], side, height), _covered(center[:, 1:], side, width)
    return rows[:, :, None] & columns[:, None]


def _covered(center: Tensor, side: Tensor | int, size: int) -> Tensor:
    """Return bool [B, size]: the rows or columns that the square covers."""
    first = (center * size).long() - side // 2
    place = torch.arange(size, device=center.device)
    return (place >= first) & (place < first + side)
