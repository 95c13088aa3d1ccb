"""FixMatch (Sohn et al., NeurIPS 2020): a confident prediction on the weak view is the label of the strong view."""

from pydantic import Field
from torch import Tensor

from pipeline.data.batches.batch import Batch
from pipeline.methods.method import Method
from pipeline.methods.phases import Compute, Phases, Update
from pipeline.methods.prediction import Predictions, WeakPrediction, confident_loss, label_weak_views
from pipeline.options import Options


class FixMatchOptions(Options):
    weight: float = Field(1.0, ge=0, description="weight of the unlabeled loss after its ramp; the paper's lambda_u")
    threshold: float = Field(0.95, ge=0, le=1, description="least confidence of a label that counts; the paper's tau")


class FixMatch(Method):
    """Labeled cross-entropy plus cross-entropy of the strong view on hard, confident labels.

    These are equations 3 and 4 of the paper, which has no ramp.
    """

    sections = {"fixmatch": FixMatchOptions}  # noqa: RUF012

    def step(self, step: int) -> Phases:
        predictions: Predictions = yield Compute("pseudo-label", self.pseudo_label, track_running_stats=True)
        yield Update("model", lambda batch: self.loss(step, predictions[batch], batch))

    def pseudo_label(self, batch: Batch) -> WeakPrediction:
        return label_weak_views(batch, self.networks["model"](batch.weak))

    def loss(self, step: int, prediction: WeakPrediction, batch: Batch) -> Tensor:
        options = self.options["fixmatch"]
        labeled, strong = self.logits("model", batch.labeled, batch.strong)
        confidence = prediction.logits.softmax(1).amax(1)
        unlabeled = confident_loss(strong, prediction.labels, confidence, options.threshold, batch)
        loss = self.labeled_loss(labeled, batch.labels) + options.weight * self.ramp(step) * unlabeled
        batch.report(loss=loss)
        return loss
