"""Fused optimizers by name: a step is one kernel, and a flag on the device can make it do nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from pipeline.config.schema import OptimizerOptions

Groups = list[dict[str, Any]]
LR_FACTOR = "lr_factor"
"""The key of a parameter group with its factor on the learning rate of each step; 1 in groups without it."""


def build_optimizer(module: nn.Module, options: OptimizerOptions) -> torch.optim.Optimizer:
    """Return the optimizer of the trainable parameters.

    One-dimensional ones (biases, BN) have no weight decay, unless ``options.decayed`` is ``"all"``. The biases of BN
    are a group of their own, with the factor ``options.bn_bias_lr_factor`` on the learning rate. Their weight decay is
    divided by it, since the step multiplies the two: what a step takes off does not depend on the factor.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    biases = {id(layer.bias) for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)}
    others = [parameter for parameter in parameters if id(parameter) not in biases]
    factor, decay = options.bn_bias_lr_factor, options.weight_decay
    decay_of_vectors = decay if options.decayed == "all" else 0.0
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": decay_of_vectors},
        {
            "params": [p for p in parameters if id(p) in biases],
            "weight_decay": decay_of_vectors / factor,
            LR_FACTOR: factor,
        },
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
