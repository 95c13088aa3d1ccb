"""Accuracy of a network on a split, shared out over ranks."""

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.data.batches.split import Split
from pipeline.distributed.world import World
from pipeline.precision import Precision


@torch.no_grad()
def evaluate(network: nn.Module, split: Split, world: World, precision: Precision) -> dict[str, float]:
    """Return ``accuracy`` in percent and the mean cross-entropy ``loss``, of un-augmented images.

    Changes nothing: the network is put back into the mode it was in.
    """
    totals = torch.zeros(2, dtype=torch.float64, device=world.device)
    was_training = network.training
    network.eval()
    for images, labels in split.batches(world):
        with precision.autocast():
            logits = network(images)
        totals[0] += (logits.argmax(1) == labels).sum()
        totals[1] += F.cross_entropy(logits.float(), labels, reduction="sum")
    network.train(was_training)
    right, loss = (world.sum(totals) / max(1, len(split))).tolist()
    return {"accuracy": 100 * right, "loss": loss}
