"""Which images share the statistics of batch normalization (BN): how the images of one loss go through a network."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Passes = Callable[[Callable[[Tensor], Tensor], Sequence[Tensor]], Sequence[Tensor]]
"""A function from a network and batches of images [N_i, C, H, W] to their logits [N_i, classes], in the same order."""


def joint(network: Callable[[Tensor], Tensor], images: Sequence[Tensor]) -> Sequence[Tensor]:
    """Run one pass over all batches: they share one set of statistics, and the running statistics are updated once."""
    return network(torch.cat(list(images))).split([len(batch) for batch in images])


def separate(network: Callable[[Tensor], Tensor], images: Sequence[Tensor]) -> Sequence[Tensor]:
    """Run one pass for each batch, in one graph: each has its own statistics, and each updates the running ones.

    After two passes with momentum m, the running statistics have weight (1 - m)^2 on their old values, m (1 - m) on the
    first batch and m on the second one.
    """
    return [network(batch) for batch in images]


PASSES: Mapping[str, Passes] = {"joint": joint, "separate": separate}
"""The functions by the key ``batch_statistics``. Without BN the two differ by rounding alone."""
