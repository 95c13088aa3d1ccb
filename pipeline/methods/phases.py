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

from pipeline.data.batches.batch import Batch


@dataclass(frozen=True)
class Measure:
    """Evaluate ``of`` without gradients; answered with the global mean, a float32 scalar on the device.

    The networks run in training mode, with batch statistics, and with dropout that is a function of ``name``: the
    same measure before and after an update differs by the update alone. ``of`` returns a mean over its micro-batch,
    or None if it only leaves something in ``batch.memo``. Running statistics change only if ``tracks``. ``at``,
    ``evaluating`` and ``exact`` are as in :class:`Differentiate`.
    """

    name: str
    of: Callable[[Batch], Tensor | None]
    tracks: bool = False
    at: "Shift | None" = None
    evaluating: bool = False
    exact: bool = False


@dataclass(frozen=True)
class Update:
    """One optimizer step of ``network`` along the gradient of the global mean of ``loss``.

    Answered with whether it moved, a boolean scalar on the device: a gradient that is not finite moves nothing.

    Gradients flow into ``network`` only; every other network is evaluated without. ``rule`` names the step:
    ``"optimizer"``, or ``"descent"`` for plain gradient descent at the network's inner rate. Dropout is a function
    of ``noise``, by default of the network and the rule.
    """

    network: str
    loss: Callable[[Batch], Tensor]
    rule: str = "optimizer"
    noise: str | None = None


@dataclass(frozen=True)
class Differentiate:
    """Gradients of several losses of one forward pass; answered with a :class:`Gradient` for each.

    Args:
        at: take them at other weights, for the length of this phase.
        evaluating: with running statistics and without dropout.
        exact: in full precision, whatever the precision of the run, and without loss scaling: the gradient is then a
            direction that a method may compute with, but none to give to :class:`Apply`.
    """

    network: str
    losses: Callable[[Batch], Mapping[str, Tensor]]
    at: "Shift | None" = None
    evaluating: bool = False
    exact: bool = False


@dataclass(frozen=True)
class Apply:
    """One step of ``network`` along a gradient that :class:`Differentiate` gave, or a combination of such.

    Answered as :class:`Update` is.
    """

    network: str
    gradient: "Gradient"
    rule: str = "optimizer"


@dataclass(frozen=True)
class Gradient:
    """One tensor for each parameter of a network; gradients add, and scale by scalars."""

    tensors: tuple[Tensor, ...]

    def __add__(self, other: "Gradient") -> "Gradient":
        return Gradient(torch._foreach_add(self.tensors, other.tensors))

    def __rmul__(self, factor: Tensor | float) -> "Gradient":
        """Scale; a tensor of 0 times a gradient that overflowed is 0: a term which is off cannot spoil the others."""
        scaled = torch._foreach_mul(self.tensors, factor)
        if isinstance(factor, Tensor):
            scaled = tuple(torch.where(factor == 0, 0, tensor) for tensor in scaled)
        return Gradient(tuple(scaled))

    def dot(self, other: "Gradient") -> Tensor:
        """Return the inner product over all parameters, a scalar."""
        products = torch._foreach_mul(self.tensors, other.tensors)
        return torch.stack([product.sum() for product in products]).sum()

    def norm(self) -> Tensor:
        """Return the Euclidean norm over all parameters, a scalar."""
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(self.tensors)))


@dataclass(frozen=True)
class Shift:
    """Another point in the space of ``network``'s weights: where it stands now, plus ``by``."""

    network: str
    by: Gradient


@dataclass(frozen=True)
class Report:
    """Log scalars that are global already, such as the feedback h."""

    values: Mapping[str, Tensor]


Phase = Measure | Update | Differentiate | Apply | Report
Phases = Generator[Phase, Any, None]
