"""Cutout (DeVries and Taylor, 2017): blank a square of each image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.sampling.stateless_rng import uniform


@dataclass(frozen=True)
class Cutout:
    """Fill a square whose center is uniform over the image; what reaches past the border is cut off.

    Args:
        size: side of the square in pixels; 0 cuts nothing.
        fill: gray level.
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

    def _covered(self, drawn: Tensor, size: int) -> Tensor:
        """Return bool [B, size]: which rows (or columns) the square covers; ``drawn`` float32 [B, 1] in [0, 1)."""
        first = (drawn * size).long() - self.size // 2
        place = torch.arange(size, device=drawn.device)
        return (place >= first) & (place < first + self.size)
