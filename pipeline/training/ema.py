"""Exponential moving average of the weights and buffers of a network."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """The average of a network's weights and of BN's running statistics.

    The decay of update t, counted from 0, is min(decay, (t + 1) / (t + 10)), so that the average forgets the random
    first weights. Integer buffers are copied. The network must keep its present tensors as long as this object is used.

    Args:
        network: the network that is averaged.
        decay: the share of the old average that an update keeps, in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0
        self.averaged, self.counts = _tensors(self.network)
        self.current, self.current_counts = _tensors(network)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights."""
        decay = min(self.decay, (self.updates + 1) / (self.updates + 10))
        torch._foreach_lerp_(self.averaged, self.current, 1 - decay)
        if self.counts:
            torch._foreach_copy_(self.counts, self.current_counts)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["weights"])
        self.updates = state["updates"]


def _tensors(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the floating-point parameters and buffers of a network, and the others."""
    tensors = [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    return floating, [tensor for tensor in tensors if not tensor.is_floating_point()]
