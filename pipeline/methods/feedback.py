"""The feedback coefficient h of Meta Pseudo Labels: how much a step on pseudo-labels improved the labeled loss.

    h = L_l(theta) - L_l(theta')

theta are the student's weights before its step on the pseudo-labels and theta' those after it. L_l is the cross-entropy
on the labeled images of the global batch, without label smoothing. h is positive if the step improved the student. In
Self Meta Pseudo Labels the one network is its own student.

Source: Pham et al., "Meta Pseudo Labels", CVPR 2021. Equation 12 (Appendix A, used by Algorithm 1) has

    h = eta * <grad L_l(theta'), grad L_u(theta)>

where L_u is the student's loss on the pseudo-labels and eta its learning rate. The difference of losses above agrees
with it to O(eta^2) and needs no gradient of L_l. :func:`feedback` computes the difference, and
:func:`feedback_from_gradients` the inner product.

The gradient of the teacher's meta term is then h times the gradient of the teacher's cross-entropy on its own
pseudo-labels; :data:`TEACHER_LOSSES` holds that cross-entropy.
"""

from collections.abc import Callable, Generator, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.methods.method import Model
from pipeline.methods.phases import Differentiate, Gradient, Measure, Phase, Shift, Update

MetaTerm = Callable[[Batch, Tensor], Tensor]
"""A function that returns the meta term of the teacher's loss, a scalar.

Its arguments are a micro-batch and the teacher's logits [U, classes] on the strong views.
"""


def unsmoothed_labeled_loss(network: Model, batch: Batch) -> Tensor:
    """Return L_l, the mean cross-entropy on the labeled images of a micro-batch, without label smoothing."""
    return F.cross_entropy(network(batch.labeled), batch.labels)


def measure_labeled_loss(network: Model, at: Shift | None = None) -> Measure:
    """Return the phase that measures L_l of the global batch at the present weights of ``network``, or at others.

    All such phases have one name and therefore the same dropout masks, so h is a difference of one function at two
    points. Running statistics do not move.
    """
    return Measure("labeled error", lambda batch: unsmoothed_labeled_loss(network, batch), at=at)


def full_gradient(
    network: str, loss: Callable[[Batch], Tensor], at: Shift | None = None
) -> Generator[Phase, Any, Gradient]:
    """Return the gradient of a loss in full precision, by which weights may be shifted; no weight changes."""
    gradient: Gradient
    (gradient,) = yield Differentiate(network, lambda batch: (loss(batch),), at=at, full_precision=True)
    return gradient


def feedback(before: Tensor, after: Tensor) -> Tensor:
    """Return h = L_l(theta) - L_l(theta'), a scalar, from the labeled losses before and after the step."""
    return before - after


def feedback_from_gradients(rate: float, inner: Gradient, outer: Gradient) -> Tensor:
    """Return h = eta * <grad L_u(theta), grad L_l(theta')>, a scalar: equation 12 of Meta Pseudo Labels."""
    return rate * inner.dot(outer)


def measure_own_step(
    student: str, network: Model, loss: Callable[[Batch], Tensor]
) -> Generator[Phase, Any, tuple[Tensor, Tensor, Tensor]]:
    """Update the student; return L_l before and after its step, and whether it moved, three scalars."""
    before = yield measure_labeled_loss(network)
    moved = yield Update(student, loss)
    return before, (yield measure_labeled_loss(network)), moved


def measure_descent(
    student: str, network: Model, loss: Callable[[Batch], Tensor]
) -> Generator[Phase, Any, tuple[Tensor, Tensor, Tensor]]:
    """Update the student; return L_l before and after plain gradient descent, and whether the student moved."""
    gradient = yield from full_gradient(student, loss)
    before = yield measure_labeled_loss(network)
    after = yield measure_labeled_loss(network, Shift(student, -network.rate * gradient))
    return before, after, (yield Update(student, loss))


FEEDBACK_STEPS = {"optimizer": measure_own_step, "descent": measure_descent}
"""The functions that update the student and measure L_l before and after a step, by ``mpl.feedback_step``."""


def subtract_baseline(state: MutableMapping[str, Tensor], h: Tensor, moved: Tensor) -> Tensor:
    """Return h - m for the moving average m in ``state["baseline"]``, then update it: m <- 0.99 m + 0.01 h.

    If the student did not move, the result is 0 and m does not change. m starts from 0.
    """
    mean = state.get("baseline", h.new_zeros(()))
    state["baseline"] = torch.where(moved, 0.99 * mean + 0.01 * h, mean)
    return torch.where(moved, h - mean, 0)


def _own_distribution_loss(logits: Tensor, _: Tensor) -> Tensor:
    """Return CE(q, z) for constant soft labels q = softmax(z) up to a constant, so that its gradient is exactly zero.

    Google's public code of Meta Pseudo Labels has this meta term: the teacher is compared with its own distribution on
    the same strong views, so the gradient softmax(z) - q vanishes and h has no effect. The mode ``official-soft``
    reproduces that code. The formula here gives zero without rounding errors.
    """
    difference = logits.softmax(1) - logits.detach().softmax(1)
    return (difference.detach() * logits).sum(1).mean()


def _own_argmax_loss(logits: Tensor, _: Tensor) -> Tensor:
    """Return the cross-entropy on the most probable class of the same logits, whatever the student's labels are."""
    return F.cross_entropy(logits, logits.detach().argmax(1))


TEACHER_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "argmax": F.cross_entropy,
    "sample": F.cross_entropy,
    "soft": _own_distribution_loss,
    "two-argmax": _own_argmax_loss,
}
"""The teacher's cross-entropy that h multiplies, by ``mpl.label_mode``.

Each maps the teacher's logits [U, classes] on its strong views and the pseudo-labels int64 [U] to a mean over U.
"""
