"""The phases in which a method describes its training step.

A method's step is a generator of *phases*. It yields what it wants done, as functions of one micro-batch, and receives
the answer for the *global* batch, over all micro-batches and all ranks. The engine alone deals with micro-batches,
gradient averaging, autocast, loss scaling, clipping and schedules, so that world size, accumulation and precision
cannot change what a method computes.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pipeline.data.batches.batch import Batch

T = TypeVar("T")


@dataclass(frozen=True)
class Compute(Generic[T]):
    """Call the function ``of`` on each micro-batch, without gradients; the answer is a mapping from batch to result.

    A method looks these results up in the functions of later phases of the same step: ``predictions[batch]``.

    The networks run in training mode, with batch statistics and with dropout. Dropout is a function of ``name``: two
    phases of the same name, before and after an update, differ by the update alone.
    """

    name: str
    """The name of the phase, from which the dropout masks are derived."""
    of: Callable[[Batch], T]
    """The function of a micro-batch."""
    track_running_stats: bool = False
    """Whether these passes update the running statistics of batch normalization."""
    at: "Shift | None" = None
    """Weights that one network has during this phase in place of its present ones; None for no change."""
    eval_mode: bool = False
    """Whether the networks run in evaluation mode: with running statistics and without dropout."""
    full_precision: bool = False
    """Whether the networks run without autocast, whatever the precision of the run."""


@dataclass(frozen=True)
class Measure(Compute[Tensor]):
    """Measure a mean over the global batch, without gradients; ``of`` returns the mean over a micro-batch.

    The answer is a scalar on the device: float32, or float64 if ``of`` returns float64.
    """


@dataclass(frozen=True)
class Update:
    """Update ``network`` by one step along the gradient of the global mean of ``loss``.

    The answer is a boolean scalar on the device: whether the network moved. If the gradient is
    not finite, no weight changes. Gradients flow into ``network`` only; other networks are evaluated without a graph.
    """

    network: str
    loss: Callable[[Batch], Tensor]
    """Returns the loss of a micro-batch, a mean over its samples."""
    rule: str = "optimizer"
    """``"optimizer"``, or ``"descent"`` for plain gradient descent at the network's inner learning rate."""
    noise: str | None = None
    """The name from which dropout masks are derived; None for the names of the network and the rule."""


@dataclass(frozen=True)
class Differentiate:
    """Compute the gradients of several losses of one forward pass; the answer is one :class:`Gradient` for each.

    The gradients come as a tuple in the order of the losses, so a method unpacks them:
    ``first, second = yield Differentiate(...)``.
    """

    network: str
    losses: Callable[[Batch], tuple[Tensor, ...]]
    """Returns the losses of a micro-batch, each a mean over its samples."""
    at: "Shift | None" = None
    """Weights that one network has during this phase in place of its present ones; None for no change."""
    eval_mode: bool = False
    """Whether the networks run in evaluation mode: with running statistics and without dropout."""
    full_precision: bool = False
    """Whether to compute without autocast and loss scaling, whatever the precision of the run.

    Such a gradient is a direction that a method may compute with. It must not be given to :class:`Apply`.
    """


@dataclass(frozen=True)
class Apply:
    """Update ``network`` by one step along a gradient from :class:`Differentiate`, or a combination of such gradients.

    As with :class:`Update`, the answer is whether the network moved.
    """

    network: str
    gradient: "Gradient"
    rule: str = "optimizer"


@dataclass(frozen=True)
class Gradient:
    """A gradient: one tensor for each trained parameter of a network. Gradients can be added and scaled."""

    tensors: tuple[Tensor, ...]

    def __add__(self, other: "Gradient") -> "Gradient":
        return Gradient(torch._foreach_add(self.tensors, other.tensors))

    def __rmul__(self, factor: Tensor | float) -> "Gradient":
        """Return the gradient times ``factor``.

        A tensor of 0 times a gradient that overflowed is 0, so that a term that is switched off cannot spoil a sum.
        """
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
    """Other weights for ``network``: its present weights plus ``by``."""

    network: str
    by: Gradient


@dataclass(frozen=True)
class Report:
    """Log scalars that are over the global batch already, such as the feedback h. There is no answer."""

    values: Mapping[str, Tensor]


Phase = Compute[Any] | Update | Differentiate | Apply | Report
Phases = Generator[Phase, Any, None]
"""A training step: a generator of phases that receives the answer to each."""
