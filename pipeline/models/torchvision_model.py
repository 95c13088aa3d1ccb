"""Networks of torchvision.models, from AlexNet to ViT, with their published weights."""

import inspect
import re
from collections.abc import Collection, Mapping
from typing import Any

import torchvision
from torch import Tensor, nn

from pipeline.models.backbone import Backbone, BackboneOptions
from pipeline.task import Task


class TorchvisionOptions(BackboneOptions):
    @classmethod
    def architectures(cls) -> list[str]:
        return list(torchvision.models.list_models(module=torchvision.models))


class TorchvisionModel(Backbone):
    """A classification network of torchvision, without auxiliary classifiers."""

    Options = TorchvisionOptions
    library = "torchvision"

    def build(self, architecture: str, task: Task) -> nn.Module:
        return torchvision.models.get_model(architecture, num_classes=task.classes, **_extras(architecture))

    def classifier(self) -> Collection[str]:
        """Return the name of the last linear layer or, in SqueezeNet, of the convolution that takes its place."""
        layers = [name for name, layer in self.network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        return layers[-1:]

    def published(self, architecture: str, task: Task) -> Mapping[str, Tensor]:  # noqa: ARG002
        weights = torchvision.models.get_model_weights(architecture).DEFAULT
        return self.translate(weights.get_state_dict(progress=False, check_hash=True))

    def translate(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weights with DenseNet's tensors renamed: in its files the layer ``norm1`` is called ``norm.1``."""
        split = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
        return {split.sub(r"\1\2.", name): tensor for name, tensor in weights.items()}


def _extras(architecture: str) -> dict[str, Any]:
    """Return arguments for GoogLeNet and Inception: no auxiliary classifiers, and no warning about initialization."""
    network = inspect.signature(torchvision.models.get_model_builder(architecture)).return_annotation
    wanted = {"aux_logits": False, "init_weights": True}
    return {name: value for name, value in wanted.items() if name in inspect.signature(network).parameters}
