"""The loop that scores a network on a split. Training and ``smpl evaluate`` share it, so that their numbers agree."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.data.batches.split import DataSplit
from pipeline.distributed.world import World
from pipeline.models.ensemble import Ensemble
from pipeline.models.view_average import TestViews, average_over_views
from pipeline.precision import Precision

Samples = tuple[Tensor, Tensor]
"""Images [B, C, H, W] and labels int64 [B], -1 if the class is unknown."""


def evaluate(
    network: nn.Module, split: DataSplit, world: World, precision: Precision, views: TestViews = "plain"
) -> dict[str, float]:
    """Return ``accuracy`` in percent and the mean cross-entropy ``loss`` in nats, of images without augmentation.

    All ranks call this together; each scores its share of the split. For ``views`` see :func:`predict`.
    """
    score = RunningScore(world)
    for logits, labels in predict(network, split.batches(world), precision, views):
        score.add(logits[0], labels)
    return score.means()


@torch.no_grad()
def predict(
    network: nn.Module, batches: Iterable[Samples], precision: Precision, views: TestViews = "plain"
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield the logits of each batch, and its labels. The network ends in the mode that it was in.

    The list holds the logits of the network [B, classes] and, for an ensemble, then those of each member. They are
    means over the ``views`` of each image.
    """

    def logits_of(images: Tensor) -> list[Tensor]:
        return network.logits(images) if isinstance(network, Ensemble) else [network(images)]

    was_training = network.training
    network.eval()
    try:
        for images, labels in batches:
            with precision.autocast():
                logits = average_over_views(logits_of, images, views)
            yield logits, labels
    finally:
        network.train(was_training)


class RunningScore:
    """Accuracy and loss of one network, summed in fp64 over batches. Images of unknown class do not count."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sums = torch.zeros(3, dtype=torch.float64, device=world.device)
        """Correct predictions, cross-entropy in nats, and images of known class, on this rank."""

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits [B, classes] and labels int64 [B]."""
        self.sums[0] += (logits.argmax(1) == labels).sum()
        self.sums[1] += F.cross_entropy(logits.float(), labels, reduction="sum", ignore_index=-1)
        self.sums[2] += (labels >= 0).sum()

    def means(self) -> dict[str, float]:
        """Return ``accuracy`` in percent and the mean ``loss`` over all ranks, which call it together."""
        sums = self.world.sum(self.sums)
        correct, loss = (sums[:2] / max(1, int(sums[2]))).tolist()
        return {"accuracy": 100 * correct, "loss": loss}
