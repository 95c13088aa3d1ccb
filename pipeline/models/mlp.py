"""A multi-layer perceptron on flattened inputs: for points of the plane, tiny images and tests in fp64."""

import math

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from pipeline.options import Options
from pipeline.task import Task


class MLPOptions(Options):
    hidden: list[PositiveInt] = Field([8, 8], description="units of each hidden layer; [] is a linear softmax model")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the classifier")


class MLP(nn.Module):
    """ReLU layers without batch normalization. Maps normalized inputs [B, ...], flattened, to logits [B, classes]."""

    Options = MLPOptions

    def __init__(self, options: MLPOptions, task: Task) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        fan_in = math.prod(task.shape)
        for units in options.hidden:
            layers += [nn.Linear(fan_in, units), nn.ReLU()]
            fan_in = units
        self.features = nn.Sequential(*layers, nn.Dropout(options.dropout))
        self.head = nn.Linear(fan_in, task.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
