"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016), as semi-supervised learning uses them.

This is the variant of the semi-supervised literature: LeakyReLU of slope 0.1, pre-activation, and an activated shortcut
in the first block. Dropout is before the classifier, as in Meta Pseudo Labels. Batch normalization has a momentum of
0.01 by default, as in Google's code of Meta Pseudo Labels. FixMatch's code and MPL-pytorch have 0.001, which makes
running statistics useless for the first thousands of steps.
"""

import math

from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.options import Options
from pipeline.task import Task


class WideResNetOptions(Options):
    depth: int = Field(28, description="number of convolutions; 6n + 4")
    width: int = Field(2, ge=1, description="channel multiplier k of 16k, 32k, 64k")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the classifier")
    bn_momentum: float = Field(0.01, gt=0, le=1, description="weight of a new batch in BN's running statistics")

    @field_validator("depth")
    @classmethod
    def _fits_blocks(cls, depth: int) -> int:
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"should be 6n + 4 (10, 16, 22, 28, 40, ...), not {depth}")
        return depth


class WideResNet(nn.Module):
    """WRN-depth-width. Maps normalized images [B, C, H, W] to logits [B, classes]; H and W are at least 8."""

    Options = WideResNetOptions

    def __init__(self, options: WideResNetOptions, task: Task) -> None:
        super().__init__()
        blocks = (options.depth - 4) // 6
        widths = [16 * options.width, 32 * options.width, 64 * options.width]
        self.stem = nn.Conv2d(task.shape[0], 16, 3, padding=1, bias=False)
        self.groups = nn.Sequential()
        fan_in = 16
        for group, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if group > 0 and block == 0 else 1
                first = not self.groups
                self.groups.append(_Block(fan_in, width, stride, options.bn_momentum, shared_activation=first))
                fan_in = width
        self.norm = nn.BatchNorm2d(fan_in, momentum=options.bn_momentum)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(fan_in, task.classes)
        self.apply(_initialize)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(self.stem(x))
        x = _activate(self.norm(x)).mean((2, 3))
        return self.head(self.dropout(x))


class _Block(nn.Module):
    """A pre-activation basic block; in the first block of the network the shortcut is activated as well."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, momentum: float, shared_activation: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(fan_in, momentum=momentum)
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(fan_out, momentum=momentum)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.shortcut = nn.Identity() if fan_in == fan_out else nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)
        self.shared_activation = shared_activation

    def forward(self, x: Tensor) -> Tensor:
        active = _activate(self.norm1(x))
        shortcut = self.shortcut(active if self.shared_activation else x)
        return shortcut + self.conv2(_activate(self.norm2(self.conv1(active))))


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def _initialize(module: nn.Module) -> None:
    """Initialize a layer in place: convolutions by He's rule with fan-out, the classifier by Glorot's."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels)))
    elif isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)
