"""Supervised learning: the baseline that uses the labeled images only."""

from torch import Tensor

from pipeline.data.batches.batch import Batch
from pipeline.methods.method import Method
from pipeline.methods.phases import Phases, Update


class Supervised(Method):
    """Cross-entropy with label smoothing on the labeled images."""

    views = ()

    def step(self, step: int) -> Phases:  # noqa: ARG002
        yield Update("model", self.loss)

    def loss(self, batch: Batch) -> Tensor:
        loss = self.labeled_loss(self.networks["model"](batch.labeled), batch.labels)
        batch.report(loss=loss)
        return loss
