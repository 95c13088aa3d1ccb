"""Shear, translate, rotate and cut out: one map for each sample, and one nearest-neighbor lookup for the whole batch.

The conventions are those of torchvision: the top left corner is fixed in a shear, the center in a rotation.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.augment.cutout import square
from pipeline.data.augment.sampled_ops import SampledOps

GEOMETRIC = frozenset({"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"})
LOOKED_UP = GEOMETRIC | {"Cutout"}
"""The ops that only choose, for each pixel, the place of its source."""


def geometric(images: Tensor, sampled: SampledOps, fill: int) -> Tensor:
    """Return the images after their ops, uint8 [B, C, H, W], with gray level ``fill`` where the source has no pixel."""
    rows, columns = source_places(sampled, *images.shape[-2:])
    return gather_pixels(images, rows, columns, fill)


def source_places(sampled: SampledOps, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return (rows, columns), int32 [B, H, W]: the source coordinates of each pixel of the result, in pixels.

    A sample has one op, so all terms below but one are those of the identity. In Cutout's square the row is -1, which
    is outside of the image.
    """
    y, x = _centers(height, sampled.fraction)[:, None], _centers(width, sampled.fraction)
    angle = torch.deg2rad(sampled.amount("Rotate"))[:, None, None]
    cosine, sine = angle.cos(), angle.sin()
    from_middle_y, from_middle_x = y - height / 2, x - width / 2
    rows = height / 2 + cosine * from_middle_y - _whole(sampled, "TranslateY", height)
    columns = width / 2 + cosine * from_middle_x - _whole(sampled, "TranslateX", width)
    rows = rows + (sine * from_middle_x + _each(sampled, "ShearY") * x)
    columns = columns + (_each(sampled, "ShearX") * y - sine * from_middle_y)
    rows, columns = rows.floor().to(torch.int32), columns.floor().to(torch.int32)
    return rows.masked_fill(_cut_out(sampled, height, width), -1) if "Cutout" in sampled.pool else rows, columns


def _cut_out(sampled: SampledOps, height: int, width: int) -> Tensor:
    """Return bool [B, H, W]: the pixels of Cutout's square, whose side is an even number of pixels."""
    side = 2 * (sampled.amount("Cutout") * (min(height, width) / 2)).long()
    return square(sampled.center, side[:, None], height, width)


def gather_pixels(images: Tensor, rows: Tensor, columns: Tensor, fill: int) -> Tensor:
    """Return uint8 [B, C, H, W] whose pixel (y, x) is the source's pixel at (rows, columns) of (y, x).

    A one-pixel frame of ``fill`` around the image serves all coordinates outside of it.

    Args:
        images: uint8 [B, C, H, W].
        rows: int32, broadcastable to [B, H, W]: source row in pixels from the top, of any value.
        columns: int32, broadcastable to [B, H, W]: source column in pixels from the left, of any value.
        fill: gray level, 0..255, outside of the image.
    """
    height, width = images.shape[-2:]
    framed = F.pad(images, (1, 1, 1, 1), value=fill).flatten(2)
    row, column = rows.clamp(-1, height) + 1, columns.clamp(-1, width) + 1
    index = (row * (width + 2) + column).flatten(1).long()
    return framed.gather(2, index[:, None].expand(-1, images.shape[1], -1)).view(images.shape)


def _centers(size: int, like: Tensor) -> Tensor:
    return torch.arange(size, dtype=like.dtype, device=like.device) + 0.5


def _each(sampled: SampledOps, name: str) -> Tensor:
    return sampled.amount(name)[:, None, None]


def _whole(sampled: SampledOps, name: str, size: int) -> Tensor:
    """Return float32 [B, 1, 1]: a translation in whole pixels, truncated so that it stays within its bound."""
    return (_each(sampled, name) * size).trunc()
