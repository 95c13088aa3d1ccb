"""Shear, translate and rotate: one affine map a sample, one nearest-neighbor read for the batch.

Conventions are torchvision's: shears pivot on the top left corner, rotations on the center.
"""

import torch
from torch import Tensor

from pipeline.data.augment.draw import Draw
from pipeline.data.augment.pixels import pick

GEOMETRIC = frozenset({"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"})


def geometric(images: Tensor, draw: Draw, fill: int) -> Tensor:
    """Return uint8 [B, C, H, W] moved as drawn, with gray level ``fill`` where nothing was."""
    rows, columns = source_places(draw, *images.shape[-2:])
    return pick(images, rows, columns, fill)


def source_places(draw: Draw, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return (rows, columns), int32 [B, H, W]: where each pixel of the result is read from.

    A sample draws one op, so the terms below never meet: all but one are those of the identity.
    """
    y, x = _centers(height, draw.grade)[:, None], _centers(width, draw.grade)
    angle = torch.deg2rad(draw.amount("Rotate"))[:, None, None]
    cosine, sine = angle.cos(), angle.sin()
    from_middle_y, from_middle_x = y - height / 2, x - width / 2
    rows = height / 2 + cosine * from_middle_y - _whole(draw, "TranslateY", height)
    columns = width / 2 + cosine * from_middle_x - _whole(draw, "TranslateX", width)
    rows = rows + (sine * from_middle_x + _each(draw, "ShearY") * x)
    columns = columns + (_each(draw, "ShearX") * y - sine * from_middle_y)
    return rows.floor().to(torch.int32), columns.floor().to(torch.int32)


def _centers(size: int, like: Tensor) -> Tensor:
    return torch.arange(size, dtype=like.dtype, device=like.device) + 0.5


def _each(draw: Draw, name: str) -> Tensor:
    return draw.amount(name)[:, None, None]


def _whole(draw: Draw, name: str, size: int) -> Tensor:
    """Return float32 [B, 1, 1]: a translation in whole pixels, cut toward zero so that it keeps to its bound."""
    return (_each(draw, name) * size).trunc()
