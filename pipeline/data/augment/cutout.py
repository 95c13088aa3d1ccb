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
    """

    size: int = 16
    fill: int = 128

    def __call__(self, images: Tensor, key: int, samples: Tensor) -> Tensor:
        if not self.size:
            return images
        down, right = uniform(key, samples, 2)[..., None].unbind(1)
        rows, columns = self._covered(down, images.shape[-2]), self._covered(right, images.shape[-1])
        covered = (rows[:, :, None] & columns[:, None])[:, None].to(torch.uint8)
        return (images * (1 - covered) + self.fill * covered).contiguous()

    def _covered(self, chance: Tensor, size: int) -> Tensor:
        """Return bool [B, size]: the rows or columns that the square covers; ``chance`` is float32 [B, 1], uniform."""
        first = (chance * size).long() - self.size // 2
        place = torch.arange(size, device=chance.device)
        return (place >= first) & (place < first + self.size)
