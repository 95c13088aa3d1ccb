"""A network of 1.97 million weights that is fast to train on images of 32 pixels.

Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, and its public code
(KellerJordan/cifar10-airbench, airbench94.py). The network of that code differs in three points: it takes second
moments of patches about zero in place of their covariance, adds 1e-12 in place of torch's 1e-5 to BN's variances, and
freezes the bias of the first layer after a third of the training. For a forward pass of one image it does 0.24 billion
operations, a little more than half of those of WRN-28-2, in fewer and wider convolutions.
"""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from data_prep.system.errors import UsageError
from pipeline.models.whitening import whitening_filters
from pipeline.options import Options
from pipeline.task import Task

PATCH = 2
"""Side in pixels of the first layer's filters."""
SMALLEST = 9
"""Smallest side in pixels: the first layer takes one pixel away, and three poolings halve the others."""
HEAD_SCALE = 1 / 9
"""Factor of the logits."""


class FastConvOptions(Options):
    width: int = Field(64, ge=1, description="channels of the first group; the other two have four times as many")
    whiten_bias: bool = Field(
        True, description="whether the first layer has a bias, which is trained; without it no gradient passes through"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the classifier")
    bn_momentum: float = Field(0.4, gt=0, le=1, description="weight of a new batch in BN's running statistics")


class FastConv(nn.Module):
    """A frozen convolution that whitens 2x2 patches, three groups of two convolutions, and a global maximum.

    The convolutions of the groups begin as the identity. BN has a bias but no scale. The network maps normalized images
    [B, C, H, W] to logits [B, classes].

    Raises:
        UsageError: H or W is below 9.
    """

    Options = FastConvOptions

    def __init__(self, options: FastConvOptions, task: Task) -> None:
        super().__init__()
        channels, height, width = task.shape
        if min(height, width) < SMALLEST:
            problem = f"images of {height}x{width} are too small; it needs {SMALLEST} pixels a side"
            raise UsageError(f"model fast_conv: {problem}")
        filters, narrow, wide = 2 * channels * PATCH**2, options.width, 4 * options.width
        self.whiten = nn.Conv2d(channels, filters, PATCH, bias=options.whiten_bias)
        self.groups = nn.Sequential(
            _Group(filters, narrow, options.bn_momentum),
            _Group(narrow, wide, options.bn_momentum),
            _Group(wide, wide, options.bn_momentum),
        )
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(wide, task.classes, bias=False)
        self.whiten.weight.requires_grad_(False)
        if self.whiten.bias is not None:
            nn.init.zeros_(self.whiten.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(F.gelu(self.whiten(x)))
        # amax is no alternative: compiled in bf16, no pixel equals the rounded maximum, and its gradient is 0 / 0
        maxima = F.max_pool2d(x, x.shape[-2:]).flatten(1)
        return self.head(self.dropout(maxima)) * HEAD_SCALE

    @torch.no_grad()
    def initialize_from(self, batches: Iterable[Tensor]) -> None:
        """Set the filters of the first layer, which are not trained: the whitening filters and their negatives."""
        filters = whitening_filters(batches, PATCH)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))


class _Group(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, momentum: float) -> None:
        super().__init__()
        self.conv1, self.norm1 = _identity(fan_in, fan_out), _norm(fan_out, momentum)
        self.conv2, self.norm2 = _identity(fan_out, fan_out), _norm(fan_out, momentum)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


def _identity(fan_in: int, fan_out: int) -> nn.Conv2d:
    """Return a convolution that copies its input to its first channels; the others are torch's random ones."""
    conv = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:fan_in])
    return conv


def _norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=momentum)
    norm.weight.requires_grad_(False)
    return norm
