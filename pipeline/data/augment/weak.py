"""The weak view: mirror, then crop from a padded image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.augment.geometry import gather_pixels
from pipeline.data.sampling.stateless_rng import uniform


@dataclass(frozen=True)
class WeakView:
    """Mirror left to right with probability 1/2, then shift by up to ``pad`` pixels along each axis.

    Args:
        flip: whether to mirror at all.
        pad: pixels of border that the crop may reach into; 0 does not crop.
        fill: gray level of the border.
    """

    flip: bool = True
    pad: int = 4
    fill: int = 128

    def __call__(self, images: Tensor, key: int, samples: Tensor) -> Tensor:
        if not (self.flip or self.pad):
            return images
        down, right, mirror = uniform(key, samples, 3)[..., None, None].unbind(1)
        rows = _shifted(down, images.shape[-2], self.pad)[..., None]
        columns = _shifted(right, images.shape[-1], self.pad)[:, None]
        mirrored = (mirror < 0.5) & self.flip
        columns = torch.where(mirrored, images.shape[-1] - 1 - columns, columns)
        return gather_pixels(images, rows, columns, self.fill)


def _shifted(drawn: Tensor, size: int, pad: int) -> Tensor:
    """Return int32 [B, size]: 0..size-1 shifted by -pad..pad, each shift as likely; ``drawn`` [B, 1, 1] in [0, 1)."""
    shift = (drawn[:, 0] * (2 * pad + 1)).to(torch.int32) - pad
    return torch.arange(size, dtype=torch.int32, device=drawn.device) + shift
