"""The vocabulary that methods are written in.

A method's step is a generator of *phases*. It yields what it wants done, as functions of one micro-batch, and is
answered with what that gave on the *global* batch: over all micro-batches and all ranks. Micro-batches, gradient
averaging, autocast, loss scaling, clipping and schedules are the engine's business, in one place, so that world size,
accumulation and precision cannot change what a method computes.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.data.batch import Batch


@dataclass(frozen=True)
class Measure:
    """Evaluate ``of`` without gradients; answered with the global mean, a float32 scalar on the device.

    The networks run in training mode, with batch statistics, and with dropout that is a function of ``name``: the
    same measure before and after an update differs by the update alone. ``of`` returns a mean over its micro-batch,
    or None if it only leaves something in ``batch.memo``. Running statistics change only if ``tracks``.
    """

    name: str
    of: Callable[[Batch], Tensor | None]
    tracks: bool = False


@dataclass(frozen=True)
class Update:
    """One optimizer step of ``network`` along the gradient of the global mean of ``loss``.

    Gradients flow into ``network`` only; every other network is evaluated without. ``rule`` names the step:
    ``"optimizer"``, or ``"descent"`` for plain gradient descent at the network's inner rate.
    """

    network: str
    loss: Callable[[Batch], Tensor]
    rule: str = "optimizer"


@dataclass(frozen=True)
class Differentiate:
    """Gradients of several losses of one forward pass; answered with a :class:`Gradient` for each."""

    network: str
    losses: Callable[[Batch], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Apply:
    """One step of ``network`` along a gradient that :class:`Differentiate` gave, or a combination of such."""

    network: str
    gradient: "Gradient"
    rule: str = "optimizer"


@dataclass(frozen=True)
class Gradient:
    """One tensor for each parameter of a network; gradients add, and scale by scalar tensors."""

    tensors: tuple[Tensor, ...]

    def __add__(self, other: "Gradient") -> "Gradient":
        return Gradient(torch._foreach_add(self.tensors, other.tensors))

    def __rmul__(self, factor: Tensor) -> "Gradient":
        """Scale; 0 times a gradient that overflowed is 0, so that a term which is off cannot spoil the others."""
        scaled = torch._foreach_mul(self.tensors, factor)
        return Gradient(tuple(torch.where(factor == 0, 0, tensor) for tensor in scaled))


@dataclass(frozen=True)
class Report:
    """Log scalars that are global already, such as the feedback h."""

    values: Mapping[str, Tensor]


Phase = Measure | Update | Differentiate | Apply | Report
Phases = Generator[Phase, Any, None]
