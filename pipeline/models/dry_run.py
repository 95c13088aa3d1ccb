"""A network tried out before it is trained, on torch's meta device, where shapes are computed and numbers are not."""

import copy

import torch
from torch import Tensor, nn

from pipeline.task import Task


def find_unused_parameters(network: nn.Module, task: Task) -> list[nn.Parameter]:
    """Pass a batch through ``network`` as it stands and back; return the parameters that the logits do not depend on.

    It is done with a copy without numbers: neither the network nor the random stream changes.

    Raises:
        ValueError: the output is no tensor [B, classes].
        Exception: whatever the network itself raises on images of this shape.
    """
    shadows = {id(tensor): _on_meta(tensor) for tensor in (*network.parameters(), *network.buffers())}
    logits = copy.deepcopy(network, dict(shadows))(torch.empty(2, *task.shape, device="meta"))
    if not isinstance(logits, Tensor) or logits.shape != (2, task.classes):
        raise ValueError(f"in training, its output is not a row of {task.classes} logits for each image")
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    slopes = torch.autograd.grad(logits.sum(), [shadows[id(parameter)] for parameter in learning], allow_unused=True)
    return [parameter for parameter, slope in zip(learning, slopes, strict=True) if slope is None]


def _on_meta(tensor: Tensor) -> Tensor:
    shadow = torch.empty_like(tensor, device="meta")
    return nn.Parameter(shadow, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else shadow
