"""A small convolutional network for images of 8x8, such as scikit-learn's digits."""

from pydantic import Field
from torch import Tensor, nn

from data_prep.system.errors import UsageError
from pipeline.options import Options
from pipeline.task import Task


class SmallConvOptions(Options):
    width: int = Field(32, ge=1, description="channels of the first stage; the second has twice as many")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the classifier")
    bn_momentum: float = Field(0.05, gt=0, le=1, description="weight of a new batch in BN's running statistics")


class SmallConv(nn.Module):
    """Two stages of two convolutions, then a global average.

    The network maps normalized images [B, C, H, W] to logits [B, classes].

    Raises:
        UsageError: H or W is below 2.
    """

    Options = SmallConvOptions

    def __init__(self, options: SmallConvOptions, task: Task) -> None:
        super().__init__()
        channels, height, width = task.shape
        if min(height, width) < 2:
            raise UsageError(f"model small_conv: images of {height}x{width} are too small; it needs 2 pixels a side")
        narrow, wide, momentum = options.width, 2 * options.width, options.bn_momentum
        self.features = nn.Sequential(
            *_stage(channels, narrow, momentum),
            *_stage(narrow, narrow, momentum),
            nn.MaxPool2d(2),
            *_stage(narrow, wide, momentum),
            *_stage(wide, wide, momentum),
        )
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(wide, task.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(x).mean((2, 3))))


def _stage(fan_in: int, fan_out: int, momentum: float) -> list[nn.Module]:
    conv = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(fan_out, momentum=momentum), nn.LeakyReLU(0.1)]
