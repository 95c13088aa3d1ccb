"""Normalize pixels inside the network, so that an exported model needs no other file."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Map stored images [B, C, H, W], such as pictures of 0..255, to zero mean and unit deviation per channel.

    Args:
        mean: mean of each channel, in the unit of the images.
        std: standard deviation of each channel, in the unit of the images.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) * self.scale
