"""Color and sharpness: extrapolation away from a degenerate copy of the image, which is its gray or its blur.

    result = image + amount * (image - copy)

Amount -1 gives the copy, 0 the image, and 1 doubles its color or its edges. The code uses ``lerp`` toward the copy by
-amount, which is exact at 0.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pipeline.data.augment.sampled_ops import SampledOps


def enhance(images: Tensor, sampled: SampledOps) -> Tensor:
    """Return uint8 [B, C, H, W], truncated to whole gray levels as PIL and torchvision do."""
    levels = images.to(torch.float32, memory_format=torch.contiguous_format)
    for name, change in ENHANCED.items():
        if name in sampled.pool:
            change(levels, images, sampled.amount(name)[:, None, None, None])
    return levels.clamp_(0, 255).to(torch.uint8)


def color(levels: Tensor, images: Tensor, amount: Tensor) -> None:
    """Change ``levels`` in place, away from gray, which is PIL's fixed-point luma. Gray images stay as they are."""
    if images.shape[1] == 1:
        return
    red, green, blue = images.split(1, dim=1)
    gray = (red.int() * 19595).add_(green.int() * 38470).add_(blue.int() * 7471).add_(32768) >> 16
    levels.lerp_(gray.float().expand_as(levels), -amount)


def sharpness(levels: Tensor, images: Tensor, amount: Tensor) -> None:
    """Change ``levels`` in place, away from PIL's SMOOTH filter, 3 x 3 with a weight of 5 in the center.

    The outermost pixels stay as they are.
    """
    narrow = images.to(torch.int16)
    lines = narrow[..., :-2, :] + narrow[..., 1:-1, :] + narrow[..., 2:, :]
    box = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:]
    smooth = (box + 4 * narrow[..., 1:-1, 1:-1]).float().div_(13).round_()
    levels[..., 1:-1, 1:-1].lerp_(smooth, -amount)


ENHANCED: Mapping[str, Callable[[Tensor, Tensor, Tensor], None]] = {"Color": color, "Sharpness": sharpness}
"""By op: changes levels, float32 [B, C, H, W], of images, uint8 of the same shape, by an amount [B, 1, 1, 1]."""
