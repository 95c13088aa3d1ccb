"""Fused optimizers by name: a step is one kernel, and a flag on the device can make it do nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from pipeline.config.schema import OptimizerOptions

Groups = list[dict[str, Any]]


def build_optimizer(module: nn.Module, options: OptimizerOptions) -> torch.optim.Optimizer:
    """Return the optimizer of the trainable parameters.

    One-dimensional ones (biases, BN) have no weight decay, unless ``options.decayed`` is ``"all"``.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    decay = options.weight_decay
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": decay if options.decayed == "all" else 0.0},
    ]
    return OPTIMIZERS[options.name](groups, options)


def build_descent(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return an optimizer that does plain gradient descent; the caller sets its learning rate."""
    return torch.optim.SGD(parameters, lr=0.0, fused=True)


def _sgd(groups: Groups, options: OptimizerOptions) -> torch.optim.Optimizer:
    momentum = options.momentum
    nesterov = options.nesterov and momentum > 0
    optimizer = torch.optim.SGD(groups, lr=options.lr, momentum=momentum, nesterov=nesterov, fused=True)
    if momentum:  # else a skipped first step leaves them unset
        for parameter in (parameter for group in groups for parameter in group["params"]):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _adamw(groups: Groups, options: OptimizerOptions) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=options.lr, betas=(options.momentum, 0.999), fused=True)


OPTIMIZERS: Mapping[str, Callable[[Groups, OptimizerOptions], torch.optim.Optimizer]] = {"sgd": _sgd, "adamw": _adamw}
