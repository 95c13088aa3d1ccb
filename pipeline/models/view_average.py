"""Views of an image at test time, over which a model's logits are averaged: mirrored and shifted copies.

The views and their weights are those of the public code of arXiv 2404.00498 (KellerJordan/cifar10-airbench,
airbench94.py). They cost as many passes as there are views, and results with and without them cannot be compared.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

TestViews = Literal["plain", "mirror", "mirror-shift"]


class WeightedView(NamedTuple):
    """A copy of an image and its weight in the mean."""

    weight: float
    mirrored: bool
    shift: int
    """Pixels by which it is moved down and to the right; the border reflects."""


VIEWS: Mapping[TestViews, Sequence[WeightedView]] = {
    "plain": [WeightedView(1, False, 0)],
    "mirror": [WeightedView(1 / 2, mirrored, 0) for mirrored in (False, True)],
    "mirror-shift": [
        WeightedView(1 / 8 if shift else 1 / 4, mirrored, shift) for shift in (0, -1, 1) for mirrored in (False, True)
    ],
}
"""The views by the key ``test_views``; their weights add up to 1."""


def average_over_views(
    logits_of: Callable[[Tensor], Sequence[Tensor]], images: Tensor, views: TestViews
) -> list[Tensor]:
    """Return each of the outputs of ``logits_of`` [B, classes], averaged over views of the images [B, C, H, W]."""
    if views == "plain":
        return list(logits_of(images))
    found = [[view.weight * _wide(logits) for logits in logits_of(_apply(view, images))] for view in VIEWS[views]]
    return [torch.stack(of_one_output).sum(0) for of_one_output in zip(*found, strict=True)]


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _apply(view: WeightedView, images: Tensor) -> Tensor:
    if view.shift:
        rows, columns = (_reflected(size, view.shift, images.device) for size in images.shape[-2:])
        images = images[..., rows[:, None], columns]
    return images.flip(-1) if view.mirrored else images


def _reflected(size: int, shift: int, device: torch.device) -> Tensor:
    """Return int64 [size]: the source of each row or column."""
    places = torch.arange(size, device=device) - shift
    return size - 1 - (size - 1 - places.abs()).abs()
