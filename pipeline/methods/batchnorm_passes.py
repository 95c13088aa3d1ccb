"""What batch normalization sees together: how the several kinds of images of one loss go through a network."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Passes = Callable[[Callable[[Tensor], Tensor], Sequence[Tensor]], Sequence[Tensor]]
"""From a network and batches of images [N_i, C, H, W] to their logits [N_i, classes], in the same order."""


def joint(network: Callable[[Tensor], Tensor], images: Sequence[Tensor]) -> Sequence[Tensor]:
    """One concatenated pass: the batches share one set of statistics, and the running ones move once."""
    return network(torch.cat(list(images))).split([len(batch) for batch in images])


def separate(network: Callable[[Tensor], Tensor], images: Sequence[Tensor]) -> Sequence[Tensor]:
    """A pass each, in one graph: each batch has its own statistics, and the running ones move at every pass.

    Of two passes with momentum m the running statistics keep (1 - m)^2 of what they were and take m (1 - m) of the
    first batch and m of the second one.
    """
    return [network(batch) for batch in images]


PASSES: Mapping[str, Passes] = {"joint": joint, "separate": separate}
"""By the value of the key ``batch_statistics``. Without BN they differ by rounding alone."""
