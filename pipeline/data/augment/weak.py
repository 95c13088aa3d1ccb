"""The weak view: mirror the image, then crop it from its padded copy."""

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
        pad: padding in pixels, which bounds the shift; 0 does not crop.
        fill: gray level, 0..255, of the padding.
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


def _shifted(chance: Tensor, size: int, pad: int) -> Tensor:
    """Return int32 [B, size]: 0..size-1 plus a uniform shift of -pad..pad, for ``chance`` [B, 1, 1] in [0, 1)."""
    shift = (chance[:, 0] * (2 * pad + 1)).to(torch.int32) - pad
    return torch.arange(size, dtype=torch.int32, device=chance.device) + shift
