"""The meta term of MPL's mode ``unrolled``: the exact gradient through the student's step, for soft labels."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.data.batches.batch import Batch
from pipeline.methods.feedback import MetaTerm, feedback_from_gradients, full_gradient, unsmoothed_labeled_loss
from pipeline.methods.method import Model
from pipeline.methods.phases import Compute, Gradient, Phase, Report, Shift, Update


def unrolled_term(
    student: str, network: Model, student_loss: Callable[[Batch], Tensor], weight: float
) -> Generator[Phase, Any, MetaTerm]:
    """Update the student; return a term that has the gradient of L_l(theta') with respect to the teacher's weights.

    Here theta' = theta - rate * grad L_u(theta), theta are the student's weights, and L_u is the student's loss on the
    teacher's soft labels q. L_l(theta') depends on the teacher only through q. By the chain rule, its derivative with
    respect to q is that of -rate * v . grad L_u(theta) with v = grad L_l(theta') held constant. L_u is linear in q: it
    is minus the mean of q times the student's log-probabilities. So the term is rate times the mean of q times the
    derivative of these log-probabilities along v, which forward-mode differentiation computes without a second-order
    graph.

    Args:
        student: name of the student.
        network: the student.
        student_loss: returns L_u of a micro-batch, the cross-entropy on the soft labels.
        weight: weight of the term.
    """
    rate = network.rate
    inner = yield from full_gradient(student, student_loss)
    after = Shift(student, -rate * inner)
    outer = yield from full_gradient(student, lambda batch: unsmoothed_labeled_loss(network, batch), after)
    derivatives: Mapping[Batch, Tensor] = yield Compute(
        f"{student} losses", lambda batch: log_probability_derivative(network, outer, batch), full_precision=True
    )
    moved = yield Update(student, student_loss)
    yield Report({"h": torch.where(moved, feedback_from_gradients(rate, inner, outer), 0)})

    def term(batch: Batch, strong: Tensor) -> Tensor:
        return weight * rate * (strong.softmax(1) * torch.where(moved, derivatives[batch], 0)).sum(1).mean()

    return term


def log_probability_derivative(network: Model, direction: Gradient, batch: Batch) -> Tensor:
    """Return the derivative of the log-probabilities of the strong views along ``direction``, [U, classes]."""
    logits, derivative = network.directional_derivative(batch.strong, direction)
    return derivative - (logits.softmax(1) * derivative).sum(1, keepdim=True)
