"""Fully supervised learning: the upper bound, which also uses the true labels of the unlabeled images."""

import torch
from torch import Tensor

from pipeline.data.batches.batch import Batch
from pipeline.methods.method import Method
from pipeline.methods.phases import Phases, Update


class FullySupervised(Method):
    """Cross-entropy on the labeled images and on weak views of the unlabeled images, with their true labels.

    It uses the same batches as the semi-supervised methods: B + U images in each step.
    """

    views = ("weak",)
    needs_truth = True

    def step(self, step: int) -> Phases:  # noqa: ARG002
        yield Update("model", self.loss)

    def loss(self, batch: Batch) -> Tensor:
        logits = self.networks["model"](torch.cat([batch.labeled, batch.weak]))
        loss = self.labeled_loss(logits, torch.cat([batch.labels, batch.truth]))
        batch.report(loss=loss)
        return loss
