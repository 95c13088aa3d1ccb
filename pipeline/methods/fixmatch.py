"""FixMatch (Sohn et al., NeurIPS 2020): a confident class of the weak view is the label of the strong view."""

from pydantic import Field
from torch import Tensor

from pipeline.data.batches.batch import Batch
from pipeline.methods.method import Method
from pipeline.methods.phases import Measure, Phases, Update
from pipeline.methods.prediction import confident_loss, remember
from pipeline.options import Options


class FixMatchOptions(Options):
    weight: float = Field(1.0, ge=0, description="weight of the unlabeled loss; the paper's lambda_u")
    threshold: float = Field(0.95, ge=0, le=1, description="least confidence of a label that counts; the paper's tau")


class FixMatch(Method):
    """Equations 3 and 4 of the paper: labeled CE plus CE of hard, confident pseudo-labels on the strong view."""

    sections = {"fixmatch": FixMatchOptions}  # noqa: RUF012

    def step(self, step: int) -> Phases:  # noqa: ARG002
        yield Measure("pseudo-label", self.pseudo_label, tracks=True)
        yield Update("model", self.loss)

    def pseudo_label(self, batch: Batch) -> None:
        remember(batch, self.networks["model"](batch.weak))

    def loss(self, batch: Batch) -> Tensor:
        options = self.options["fixmatch"]
        labeled, strong = self.logits("model", batch.labeled, batch.strong)
        confidence = batch.memo["weak_logits"].softmax(1).amax(1)
        unlabeled = confident_loss(strong, batch.memo["label"], confidence, options.threshold, batch)
        loss = self.labeled_loss(labeled, batch.labels) + options.weight * unlabeled
        batch.report(loss=loss)
        return loss
