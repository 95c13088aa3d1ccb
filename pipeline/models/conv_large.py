"""ConvLarge, or CNN-13: the network of temporal ensembling (Laine and Aila, ICLR 2017), Mean Teacher and MetaSemi.

Its thirteen layers are nine convolutions, three poolings and the classifier. It differs from the network of Laine and
Aila in two ways: it has batch normalization (BN) instead of weight normalization or mean-only BN, and its dropout drops
whole channels.
"""

from collections.abc import Sequence
from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from data_prep.system.errors import UsageError
from pipeline.options import Options
from pipeline.task import Task

SMALLEST = 12
"""Smallest side in pixels: two poolings leave 3x3, the size of the convolution without padding."""


class ConvLargeOptions(Options):
    width: int = Field(128, ge=1, description="channels of the first stage; the others scale with it")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout of whole channels, after the first and second stage")
    bn_momentum: float = Field(0.1, gt=0, le=1, description="weight of a new batch in BN's running statistics")


class ConvLarge(nn.Module):
    """Three stages of three convolutions, then a global average.

    The network maps normalized images [B, C, H, W] to logits [B, classes].

    Raises:
        UsageError: H or W is below 12.
    """

    Options = ConvLargeOptions

    def __init__(self, options: ConvLargeOptions, task: Task) -> None:
        super().__init__()
        channels, height, width = task.shape
        if min(height, width) < SMALLEST:
            raise UsageError(
                f"model conv_large: images of {height}x{width} are too small; it needs {SMALLEST} pixels a side"
            )
        base, momentum = options.width, options.bn_momentum
        self.features = nn.Sequential(
            *_stage([channels, base, base, base], [3, 3, 3], 1, momentum),
            nn.MaxPool2d(2),
            nn.Dropout2d(options.dropout),
            *_stage([base, 2 * base, 2 * base, 2 * base], [3, 3, 3], 1, momentum),
            nn.MaxPool2d(2),
            nn.Dropout2d(options.dropout),
            *_stage([2 * base, 4 * base, 2 * base, base], [3, 1, 1], 0, momentum),
        )
        self.head = nn.Linear(base, task.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


def _stage(channels: Sequence[int], kernels: Sequence[int], padding: int, momentum: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for (fan_in, fan_out), kernel in zip(pairwise(channels), kernels, strict=True):
        conv = nn.Conv2d(fan_in, fan_out, kernel, padding=padding, bias=False)
        layers += [conv, nn.BatchNorm2d(fan_out, momentum=momentum), nn.LeakyReLU(0.1)]
    return layers
