"""The ops Color and Sharpness, which move an image away from a copy of it without color, or away from a blurred copy.

    result = image + amount * (image - copy)

Amount -1 gives the copy, 0 the image, and 1 doubles the difference, which is color or edges. The code uses ``lerp``
toward the copy by -amount, which is exact at 0.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pipeline.data.augment.sampled_ops import SampledOps


def enhance(images: Tensor, sampled: SampledOps) -> Tensor:
    """Return the images after their ops, uint8 [B, C, H, W], truncated to whole levels as in PIL and torchvision."""
    levels = images.to(torch.float32, memory_format=torch.contiguous_format)
    for name, change in ENHANCED.items():
        if name in sampled.pool:
            change(levels, images, sampled.amount(name)[:, None, None, None])
    return levels.clamp_(0, 255).to(torch.uint8)


def color(levels: Tensor, images: Tensor, amount: Tensor) -> None:
    """Move ``levels`` in place away from the gray image, PIL's fixed-point luma. Gray images do not change."""
    if images.shape[1] == 1:
        return
    red, green, blue = images.split(1, dim=1)
    gray = (red.int() * 19595).add_(green.int() * 38470).add_(blue.int() * 7471).add_(32768) >> 16
    levels.lerp_(gray.float().expand_as(levels), -amount)


def sharpness(levels: Tensor, images: Tensor, amount: Tensor) -> None:
    """Move ``levels`` in place away from the image after PIL's SMOOTH filter, 3 x 3 with a weight of 5 in the center.

    The outermost pixels do not change.
    """
    narrow = images.to(torch.int16)
    lines = narrow[..., :-2, :] + narrow[..., 1:-1, :] + narrow[..., 2:, :]
    box = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:]
    smooth = (box + 4 * narrow[..., 1:-1, 1:-1]).float().div_(13).round_()
    levels[..., 1:-1, 1:-1].lerp_(smooth, -amount)


ENHANCED: Mapping[str, Callable[[Tensor, Tensor, Tensor], None]] = {"Color": color, "Sharpness": sharpness}
"""The function of each op. It changes levels, float32 [B, C, H, W], of uint8 images by an amount [B, 1, 1, 1]."""
