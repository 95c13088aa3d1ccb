"""Try a network before training, on torch's meta device, which computes shapes but no values."""

import copy

import torch
from torch import Tensor, nn

from pipeline.task import Task


def find_unused_parameters(network: nn.Module, task: Task) -> list[nn.Parameter]:
    """Return the parameters that have no effect on the logits of ``network`` in its present mode.

    A copy of the network without values runs forward and backward, so neither the network nor the random state changes.

    Raises:
        ValueError: the output is not a tensor [B, classes].
        Exception: what the network itself raises for images of this shape.
    """
    copies = {id(tensor): _on_meta(tensor) for tensor in (*network.parameters(), *network.buffers())}
    logits = copy.deepcopy(network, dict(copies))(torch.empty(2, *task.shape, device="meta"))
    if not isinstance(logits, Tensor) or logits.shape != (2, task.classes):
        raise ValueError(f"in training, its output is not a row of {task.classes} logits for each image")
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(logits.sum(), [copies[id(parameter)] for parameter in trained], allow_unused=True)
    return [parameter for parameter, gradient in zip(trained, gradients, strict=True) if gradient is None]


def _on_meta(tensor: Tensor) -> Tensor:
    on_meta = torch.empty_like(tensor, device="meta")
    return nn.Parameter(on_meta, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else on_meta
