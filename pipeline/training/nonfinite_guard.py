"""Non-finite gradients: noticed before the step that they would spoil, without waiting for the device."""

import torch
from torch import Tensor


class NonFiniteError(RuntimeError):
    """A gradient that is infinite or not a number."""


class Guard:
    """Remembers the first step with a non-finite gradient, on the device.

    Fused optimizers take a flag tensor that makes a step do nothing. Once tripped, the flag stays up: the weights
    remain those before the bad step until the host looks, raises, and nothing spoiled has been saved. Gradients are
    averaged over ranks before they get here, so all ranks trip together.
    """

    def __init__(self, device: torch.device) -> None:
        self.tripped = torch.zeros((), device=device)
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.step = 0

    def watch(self, norm: Tensor) -> Tensor:
        """Note a gradient norm; return the flag, 1 where the optimizer must not move."""
        bad = ~torch.isfinite(norm)
        first = bad & (self.tripped == 0)
        self.bad_step = torch.where(first, torch.full_like(self.bad_step, self.step), self.bad_step)
        self.tripped = torch.maximum(self.tripped, bad.float())
        return self.tripped

    def check(self) -> None:
        """Raise NonFiniteError if any gradient so far was bad; waits for the device."""
        if self.tripped:
            raise NonFiniteError(int(self.bad_step))
