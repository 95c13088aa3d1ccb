"""Ops that map each gray level by itself: a lookup table of 256 entries per image and channel, read once for all ops.

Such an op needs only the histogram of an image. Each function takes the table so far, float32 [B or 1, C or 1, 256]
of whole numbers in 0..255, the histogram, float32 [B, C, 256], and the op's amount, float32 [B, 1, 1]. At amount 0 it
returns the same table. Results are truncated to whole numbers, as PIL and torchvision do.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pipeline.data.augment.sampled_ops import SampledOps


def pointwise(images: Tensor, sampled: SampledOps) -> Tensor:
    """Return the images after their ops, uint8 [B, C, H, W]: their levels are looked up in the tables of the ops."""
    levels = images.flatten(2).long()
    histogram = count_levels(levels)
    table = _ramp(histogram)[None, None]
    for name, change in TABLES.items():
        if name in sampled.pool:
            table = change(table, histogram, sampled.amount(name)[:, None, None])
    return table.to(torch.uint8).expand(histogram.shape).gather(2, levels).view(images.shape)


def brightness(table: Tensor, _: Tensor, amount: Tensor) -> Tensor:
    return _whole(table * (1 + amount))


def contrast(table: Tensor, histogram: Tensor, amount: Tensor) -> Tensor:
    """Return a table that moves levels away from the image's mean gray."""
    return _whole(table + amount * (table - _mean_gray(histogram)))


def posterize(table: Tensor, _: Tensor, amount: Tensor) -> Tensor:
    step = amount.round().exp2()
    return (table / step).floor() * step


def solarize(table: Tensor, _: Tensor, amount: Tensor) -> Tensor:
    return torch.where(table >= 256 - amount, 255 - table, table)


def invert(table: Tensor, _: Tensor, amount: Tensor) -> Tensor:
    return torch.where(amount > 0, 255 - table, table)


def auto_contrast(table: Tensor, histogram: Tensor, amount: Tensor) -> Tensor:
    """Return a table that stretches each channel to 0..255; a channel of one level does not change."""
    ramp, present = _ramp(histogram), histogram.clamp(max=1)
    high = (ramp * present).amax(2, keepdim=True)
    low = 255 - ((255 - ramp) * present).amax(2, keepdim=True)
    stretched = _whole((table - low) * 255 / (high - low).clamp(min=1))
    return torch.where((amount > 0) & (high > low), stretched, table)


def equalize(table: Tensor, histogram: Tensor, amount: Tensor) -> Tensor:
    """Return a table that equalizes each channel by PIL's rule; a channel with too few levels does not change."""
    up_to = histogram.cumsum(2)
    below_brightest = (up_to * (up_to < up_to[..., -1:])).amax(2, keepdim=True)
    step = (below_brightest / 255).floor()
    leveled = ((up_to - histogram).add_((step / 2).floor()) / step.clamp(min=1)).floor_().clamp_(max=255)
    return torch.where((amount > 0) & (step > 0), leveled, table)


TABLES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "Brightness": brightness,
    "Contrast": contrast,
    "Posterize": posterize,
    "Solarize": solarize,
    "Invert": invert,
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
}
"""The function of each op, from table, histogram and amount to the new table."""


def count_levels(levels: Tensor) -> Tensor:
    """Return the histograms, float32 [B, C, 256], of int64 levels [B, C, H * W]; exact below 2**24 pixels."""
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.int32, device=levels.device)
    return counts.scatter_add_(2, levels, counts.new_ones(()).expand_as(levels)).float()


def _ramp(histogram: Tensor) -> Tensor:
    return torch.arange(256, dtype=torch.float32, device=histogram.device)


def _mean_gray(histogram: Tensor) -> Tensor:
    """Return the mean luma (ITU-R 601-2), float32 [B, 1, 1]; integer sums make it independent of their order."""
    total = (histogram * _ramp(histogram)).int().sum(2, keepdim=True, dtype=torch.int32)
    mean = total / histogram.sum(2, keepdim=True)
    if histogram.shape[1] == 1:
        return mean
    red, green, blue = mean.unbind(1)
    return (red * 0.299 + green * 0.587 + blue * 0.114)[:, None]


def _whole(levels: Tensor) -> Tensor:
    return levels.clamp(0, 255).floor_()
