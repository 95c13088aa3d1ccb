"""Gradients and steps written by hand, for models that are small enough: in fp64, on the raw pixels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pipeline.data.batches.batch import Batch
from pipeline.methods.phases import Compute, Update
from pipeline.training.trainer import Trainer

CLASSES = 4
SETTINGS: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": []},
    "optimizer": {"lr": 1.0, "momentum": 0.0, "weight_decay": 0.0},
    "uda": {"weight": 0.0},
    "ramp": 0,
    "batch_size": 3,
    "mu": 1,
    "steps": 1_000_000,
}


def weights(trainer: Trainer, network: str = "model") -> Tensor:
    """Return a network's weight and bias, flattened."""
    return torch.cat([parameter.detach().flatten() for parameter in trainer.networks[network].module.parameters()])


def set_weights(trainer: Trainer, network: str, flat: Tensor) -> None:
    parameters = list(trainer.networks[network].module.parameters())
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.data.copy_(part.view_as(parameter))


def logits(trainer: Trainer, flat: Tensor, images: Tensor) -> Tensor:
    task = trainer.data.task
    x = ((images.double() - task.mean[0]) / task.std[0]).flatten(1)
    weight, bias = flat[:-CLASSES].view(CLASSES, -1), flat[-CLASSES:]
    return x @ weight.T + bias


def step(trainer: Trainer, batch: Batch, number: int = 0) -> dict[str, Tensor]:
    return trainer.runner.run(number, trainer.method.step(number), [batch])


def fresh(batch: Batch) -> Batch:
    return Batch(*batch.tensors(), key=batch.key)


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    point = at.clone().requires_grad_()
    return torch.autograd.grad(loss(point), point)[0]


def answer(trainer: Trainer, batch: Batch, phase: Any) -> Any:
    """Carry out one phase outside of a step."""
    return trainer.runner.run_phase(phase, [batch])


def computed(trainer: Trainer, batch: Batch) -> dict[str, Tensor]:
    """Return what the phases before the update compute on the batch, by the name of the phase."""
    phases, reply, found = trainer.method.step(0), None, {}
    while not isinstance(phase := phases.send(reply), Update):
        reply = answer(trainer, batch, phase)
        if isinstance(phase, Compute):
            found[phase.name] = reply[batch]
    return found
