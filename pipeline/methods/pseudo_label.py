"""Pseudo-Label (Lee, ICML workshop 2013): the network's own confident predictions are labels of unlabeled images."""

from pydantic import Field
from torch import Tensor

from pipeline.data.batches.batch import Batch
from pipeline.methods.method import Method
from pipeline.methods.phases import Phases, Update
from pipeline.methods.prediction import confident_loss, report_precision
from pipeline.options import Options


class PseudoLabelOptions(Options):
    weight: float = Field(1.0, ge=0, description="weight of the unlabeled loss after its ramp")
    threshold: float = Field(0.95, ge=0, le=1, description="least confidence of a label that counts; 0 is Lee's form")


class PseudoLabel(Method):
    """Labeled cross-entropy plus cross-entropy on weak views of the unlabeled images (section 2.4 of the paper).

    The labels are the arg-max of the same logits. The paper has no threshold; the weight is its alpha(t).
    """

    views = ("weak",)
    sections = {"pseudo_label": PseudoLabelOptions}  # noqa: RUF012

    def step(self, step: int) -> Phases:
        yield Update("model", lambda batch: self.loss(step, batch))

    def loss(self, step: int, batch: Batch) -> Tensor:
        options = self.options["pseudo_label"]
        labeled, weak = self.logits("model", batch.labeled, batch.weak)
        confidence, labels = weak.detach().softmax(1).max(1)
        report_precision(batch, labels)
        unlabeled = confident_loss(weak, labels, confidence, options.threshold, batch)
        loss = self.labeled_loss(labeled, batch.labels) + options.weight * self.ramp(step) * unlabeled
        batch.report(loss=loss)
        return loss
