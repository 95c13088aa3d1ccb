"""The common part of networks from other libraries: published weights, fine-tuned as a whole or in part.

A subclass for each library (``torchvision_model.py``, ``timm_model.py``) says how its architectures are built and where
their weights are; everything else is here.
"""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from data_prep.system.errors import DataError, UsageError, UserError
from pipeline.models.dry_run import find_unused_parameters
from pipeline.models.freeze import freeze_parameters, frozen_modules
from pipeline.models.pretrained import first_line, fit_weights, read_weights
from pipeline.options import Options
from pipeline.registry import nearest
from pipeline.task import Task

PUBLISHED = "default"
"""The value of ``model.weights`` that loads the published weights."""


class BackboneOptions(Options, ABC):
    architecture: str = Field("resnet18", description="the library's name of the network")
    weights: str | None = Field(None, description="default (the published weights) or a file; random if absent")
    freeze: str | None = Field(
        None, description="backbone (all but the classifier), or the last layer to freeze; none if absent"
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="dropout before the classifier, in addition to the network's own"
    )

    @classmethod
    @abstractmethod
    def architectures(cls) -> list[str]:
        """Return the library's names of its classification networks."""

    @field_validator("architecture")
    @classmethod
    def _is_known(cls, architecture: str) -> str:
        known = cls.architectures()
        if architecture not in known:
            close = difflib.get_close_matches(architecture, known, n=3, cutoff=0)
            raise ValueError(f"unknown architecture {architecture!r}: {nearest(architecture, close)}")
        return architecture


class Backbone(nn.Module, ABC):
    """A network of another library, from normalized images [B, C, H, W] to logits [B, classes].

    Gray images are copied to all three channels. Frozen layers get no gradient and stay in evaluation mode, so that
    neither their weights nor the running statistics of batch normalization change. Parameters that have no effect on
    the logits get no gradient either; otherwise DDP would wait for their gradients.

    Raises:
        UsageError: an option does not fit the architecture, or the architecture cannot take images of this shape.
        DataError: the weights cannot be loaded, or belong to another architecture.
    """

    library: ClassVar[str]
    """The name of the library, for messages."""

    def __init__(self, options: BackboneOptions, task: Task) -> None:
        super().__init__()
        with self._explained_errors(options, task):
            self.network = self.build(options.architecture, task)
            classifier = self.classifier()
        if options.weights is not None:
            fit_weights(self.network, self._weights(options, task), classifier, options.weights)
        if options.dropout:
            _add_dropout(self.network, classifier, options.dropout)
        self.frozen = frozen_modules(self.network, options.freeze, classifier)
        freeze_parameters(self.network, self.frozen)
        self.train()
        with self._explained_errors(options, task):
            unused = find_unused_parameters(self, task)
        for parameter in unused:
            parameter.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.expand(-1, 3, -1, -1))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name, module in self.network.named_modules():  # by name, since SyncBatchNorm replaces modules
            if name in self.frozen:
                module.training = False
        return self

    @abstractmethod
    def build(self, architecture: str, task: Task) -> nn.Module:
        """Return the library's network with random weights."""

    @abstractmethod
    def classifier(self) -> Collection[str]:
        """Return the names of the layers of ``self.network`` that output the logits."""

    @abstractmethod
    def published(self, architecture: str, task: Task) -> Mapping[str, Tensor]:
        """Return the published weights as a state dict, from the hub or its cache. Raises errors of any type."""

    @abstractmethod
    def translate(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weights of a file, renamed to the names that they have in ``self.network``."""

    def _weights(self, options: BackboneOptions, task: Task) -> Mapping[str, Tensor]:
        if options.weights != PUBLISHED:
            return self.translate(read_weights(Path(str(options.weights))))
        try:
            return self.published(options.architecture, task)
        except Exception as error:  # the hub, its client and the file formats raise errors of many types
            name = f"the published weights of {self.library} {options.architecture}"
            raise DataError(f"cannot load {name}: {first_line(error)}; give model.weights=FILE") from None

    @contextmanager
    def _explained_errors(self, options: BackboneOptions, task: Task) -> Iterator[None]:
        """Return a context that turns any error of the architecture into one line for the user."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            shape = "x".join(map(str, task.shape))
            problem = f"{options.architecture} does not accept images of {shape}: {first_line(error)}"
            raise UsageError(f"model {self.library}: {problem}") from None


def _add_dropout(network: nn.Module, classifier: Collection[str], rate: float) -> None:
    """Apply dropout of ``rate`` to the input of each layer of the classifier.

    It is a hook, since a module in front of a layer would change the names of the network's tensors.
    """
    for name in classifier:
        network.get_submodule(name).register_forward_pre_hook(partial(_drop, rate))


def _drop(rate: float, layer: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    return F.dropout(inputs[0], rate, layer.training)
