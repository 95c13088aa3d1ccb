"""Shear, translate and rotate: one affine map a sample, one nearest-neighbor read for the batch.

Conventions are torchvision's: shears pivot on the top left corner, rotations on the center.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.augment.sampled_ops import SampledOps

GEOMETRIC = frozenset({"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"})


def geometric(images: Tensor, sampled: SampledOps, fill: int) -> Tensor:
    """Return uint8 [B, C, H, W] moved as drawn, with gray level ``fill`` where nothing was."""
    rows, columns = source_places(sampled, *images.shape[-2:])
    return gather_pixels(images, rows, columns, fill)


def source_places(sampled: SampledOps, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return (rows, columns), int32 [B, H, W]: where each pixel of the result is read from.

    A sample draws one op, so the terms below never meet: all but one are those of the identity.
    """
    y, x = _centers(height, sampled.fraction)[:, None], _centers(width, sampled.fraction)
    angle = torch.deg2rad(sampled.amount("Rotate"))[:, None, None]
    cosine, sine = angle.cos(), angle.sin()
    from_middle_y, from_middle_x = y - height / 2, x - width / 2
    rows = height / 2 + cosine * from_middle_y - _whole(sampled, "TranslateY", height)
    columns = width / 2 + cosine * from_middle_x - _whole(sampled, "TranslateX", width)
    rows = rows + (sine * from_middle_x + _each(sampled, "ShearY") * x)
    columns = columns + (_each(sampled, "ShearX") * y - sine * from_middle_y)
    return rows.floor().to(torch.int32), columns.floor().to(torch.int32)


def gather_pixels(images: Tensor, rows: Tensor, columns: Tensor, fill: int) -> Tensor:
    """Return uint8 [B, C, H, W] whose pixel (y, x) is the source's (rows, columns) there.

    A frame of ``fill``, one pixel wide, catches every place outside of the image.

    Args:
        images: uint8 [B, C, H, W].
        rows: int32, broadcastable to [B, H, W]: pixels from the top, of any value.
        columns: likewise, from the left.
        fill: gray level of what lies outside.
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
    """Return float32 [B, 1, 1]: a translation in whole pixels, cut toward zero so that it keeps to its bound."""
    return (_each(sampled, name) * size).trunc()
