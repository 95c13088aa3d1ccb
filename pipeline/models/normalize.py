"""Pixels to network input, inside the network: what is exported needs no companion."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Map images [B, C, H, W] as they are stored to zero mean and unit deviation per channel; pictures are 0..255.

    Args:
        mean: per channel, in the units of the images.
        std: likewise.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) * self.scale
