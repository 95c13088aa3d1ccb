"""Pseudo-labels from a network's predictions on weak views, kept in a batch's memo for the phases that follow."""

import torch
from torch import Tensor

from pipeline.data.batch import Batch


def remember(batch: Batch, weak_logits: Tensor, choice: str) -> None:
    """Keep ``weak_logits`` [U, classes] and one hard label a sample [U] in the memo.

    ``choice`` is ``"argmax"``, or ``"sample"`` from the predicted distribution, which makes the meta-gradient of
    Meta Pseudo Labels unbiased. Reports the precision against the hidden truth, of samples that have one.
    """
    label = weak_logits.argmax(1) if choice == "argmax" else torch.multinomial(weak_logits.softmax(1), 1).squeeze(1)
    batch.memo |= {"weak_logits": weak_logits, "label": label}
    known = batch.truth >= 0
    right = ((label == batch.truth) & known).sum()
    batch.report(pseudo_precision=right / known.sum().clamp(min=1))
