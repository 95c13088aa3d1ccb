"""Which window of an image is cropped: a pure function of its size and, if it is random, of (key, slot)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.data.sampling.stateless_rng import uniform

Crop = Callable[[Tensor], Tensor]
"""A function from sizes int64 [B, 2] (height, width) to windows int64 [B, 4] (top, left, height, width)."""

MAX_TRIES = 10
"""Number of random windows to try before the central one is used."""
CENTER_FRACTION = 224 / 256
"""Side of an evaluation window as a fraction of the shorter side: ImageNet's usual 224 of 256 pixels."""


def random_windows(
    key: int,
    slots: Tensor,
    sizes: Tensor,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Return windows of random area, aspect ratio and position (Szegedy et al., CVPR 2015), int64 [B, 4].

    A window that does not fit is sampled again. After ten tries the largest central window of an allowed ratio is used.

    Args:
        key: from ``derive_key(seed, step, purpose)``.
        slots: int64 [B], the slots of the global batch that the images fill.
        sizes: int64 [B, 2], height and width of each image.
        scale: smallest and largest fraction of the image's area.
        ratio: smallest and largest width / height, uniform on a log scale.
    """
    chance = uniform(key, slots, 2 * MAX_TRIES + 2).double()
    sides = sizes.double()
    area = (scale[0] + chance[:, :MAX_TRIES] * (scale[1] - scale[0])) * sides.prod(1, keepdim=True)
    log_ratio = math.log(ratio[0]) + chance[:, MAX_TRIES : 2 * MAX_TRIES] * math.log(ratio[1] / ratio[0])
    stretch = torch.exp(log_ratio / 2)
    tried = torch.stack([area.sqrt() / stretch, area.sqrt() * stretch], 2).round()
    shapes = torch.cat([tried, _central(sides, ratio)[:, None]], 1)
    fits = ((shapes > 0) & (shapes <= sides[:, None])).all(2)
    fits[:, -1] = True
    first = fits.int().argmax(1)
    shape = shapes[torch.arange(len(sizes)), first]
    place = torch.where((first < MAX_TRIES)[:, None], chance[:, -2:] * (sides - shape + 1), (sides - shape) / 2)
    return torch.cat([place.floor(), shape], 1).long()


def center_windows(sizes: Tensor) -> Tensor:
    """Return central squares, int64 [B, 4], for ``sizes`` int64 [B, 2]; CENTER_FRACTION of the shorter side."""
    side = (sizes.amin(1, keepdim=True) * CENTER_FRACTION).round().clamp(min=1).long().expand(-1, 2)
    return torch.cat([(sizes - side) // 2, side], 1)


def _central(sides: Tensor, ratio: tuple[float, float]) -> Tensor:
    """Return the largest height and width [B, 2] within ``sides`` whose ratio is allowed."""
    height, width = sides.unbind(1)
    low = torch.minimum(height, (width / ratio[0]).round())
    return torch.stack([low, torch.minimum(width, (height * ratio[1]).round())], 1).clamp(min=1)
