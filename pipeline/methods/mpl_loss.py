"""The cross-entropy of the teacher that the student's feedback multiplies, by label mode."""

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional as F


def _own_soft(logits: Tensor, _: Tensor) -> Tensor:
    """CE(q, z) for q = softmax(z) held fixed, written by its gradient, softmax(z) - q: which is exactly zero."""
    slope = logits.softmax(1) - logits.detach().softmax(1)
    return (slope.detach() * logits).sum(1).mean()


def _own_argmax(logits: Tensor, _: Tensor) -> Tensor:
    return F.cross_entropy(logits, logits.detach().argmax(1))


CREDITS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "argmax": F.cross_entropy,
    "sample": F.cross_entropy,
    "soft": _own_soft,
    "two-argmax": _own_argmax,
}
"""From the teacher's logits [U, classes] of its strong views and the pseudo-labels, to a mean."""
