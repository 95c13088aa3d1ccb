"""Accuracy of a network on a split, shared out over ranks."""

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.data.resident import ResidentSplit
from pipeline.distributed import World
from pipeline.engine.precision import Precision

BATCH = 512


@torch.no_grad()
def evaluate(network: nn.Module, split: ResidentSplit, world: World, precision: Precision) -> dict[str, float]:
    """Return ``accuracy`` in percent and the mean cross-entropy ``loss``, of un-augmented images.

    Changes nothing: the network is put back into the mode it was in.
    """
    totals = torch.zeros(2, dtype=torch.float64, device=world.device)
    was_training = network.training
    network.eval()
    for start in range(world.rank * BATCH, len(split), world.size * BATCH):
        images, labels = split.images[start : start + BATCH], split.labels[start : start + BATCH]
        with precision.autocast():
            logits = network(images)
        totals[0] += (logits.argmax(1) == labels).sum()
        totals[1] += F.cross_entropy(logits.float(), labels, reduction="sum")
    network.train(was_training)
    right, loss = (world.sum(totals) / max(1, len(split))).tolist()
    return {"accuracy": 100 * right, "loss": loss}
