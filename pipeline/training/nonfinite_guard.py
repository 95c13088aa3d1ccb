"""Detection of non-finite gradients before the optimizer uses them, without waiting for the device."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class NonFiniteError(RuntimeError):
    """A gradient that is infinite or not a number; ``sample_ids`` are those of its batch, by split, where known."""

    def __init__(self, problem: object, sample_ids: Mapping[str, Sequence[int]] | None = None) -> None:
        super().__init__(problem)
        self.sample_ids = sample_ids or {}


class Guard:
    """Records the first step with a non-finite gradient, in tensors on the device.

    Fused optimizers skip a step if their flag tensor is 1. Once set, the flag stays set, so the weights do not
    change from the bad step until :meth:`check` raises, and no bad weights are saved. Gradients are averaged over the
    ranks first, so all ranks set the flag in the same step.
    """

    def __init__(self, device: torch.device) -> None:
        self.tripped = torch.zeros((), device=device)
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.step = 0

    def watch(self, norm: Tensor) -> Tensor:
        """Check a gradient norm, a scalar; return the flag, which is 1 if the optimizer must skip the step."""
        bad = ~torch.isfinite(norm)
        first = bad & (self.tripped == 0)
        self.bad_step = torch.where(first, torch.full_like(self.bad_step, self.step), self.bad_step)
        self.tripped = torch.maximum(self.tripped, bad.float())
        return self.tripped

    def check(self) -> None:
        """Raise NonFiniteError, which names the step, if a gradient was not finite. This waits for the device."""
        if self.tripped:
            raise NonFiniteError(int(self.bad_step))
