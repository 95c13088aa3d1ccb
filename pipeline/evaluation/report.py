"""The answer of ``smpl evaluate`` about a trained model: tables with notes as text, and the same as JSON."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.dataset.manifest import MANIFEST, SPLITS, Manifest, load_manifest
from data_prep.system.errors import UsageError
from pipeline.data.prepared_set import PreparedSet
from pipeline.evaluation.class_scores import evaluate_classes, regroup
from pipeline.evaluation.tables import Evaluation, tables
from pipeline.evaluation.trained_model import TrainedModel
from pipeline.models.view_average import TestViews
from pipeline.precision import Precision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation, with the model, the data and the number format that it was made with."""

    model: TrainedModel
    prepared: PreparedSet
    split: str
    precision: Precision
    views: TestViews
    evaluation: Evaluation

    def lines(self) -> Iterator[str]:
        """Yield the lines of the text for people."""
        evaluation, device = self.evaluation, self.precision.device.type
        yield f"{self.model.path} on {device}, {self.precision.name}; {self.prepared.choice}"
        images, classes = f"{evaluation.images:,} images", f"{len(evaluation.classes)} classes"
        yield f"{self.split} split of {self.prepared.folder}: {images} of {classes}"
        yield from tables(evaluation)
        yield from (f"note: {note}" for note in self.notes())

    def notes(self) -> Iterator[str]:
        """Yield lines about what limits the meaning of the numbers."""
        if self.views != "plain":
            yield f"each image is scored by its mean over {self.views} views"
        if self.evaluation.unknown:
            yield f"{self.evaluation.unknown:,} images without a known class are not scored"
        if not math.isfinite(self.evaluation.score.loss):
            yield "the model's outputs are not finite: it has diverged"
        if self.split == "test":
            yield "choosing a model by the test split spoils it; choose by --split val"
        if self.model.trained_on not in {None, self.prepared.manifest.fingerprint}:
            yield "the model was trained on another prepared set, whose training images may be among these"

    def tree(self) -> dict[str, Any]:
        """Return the report as a tree that JSON can hold."""
        model, manifest = self.model, self.prepared.manifest
        return {
            "model": {"path": str(model.path), "sha256": model.sha256, "trained_on": model.trained_on},
            "data": {
                "folder": str(self.prepared.folder),
                "dataset": manifest.dataset,
                "fingerprint": manifest.fingerprint,
            },
            "split": self.split,
            "loader": self.prepared.choice.name,
            "device": self.precision.device.type,
            "precision": self.precision.name,
            "test_views": self.views,
        } | self.evaluation.tree()


def open_manifest(folder: Path, split: str) -> Manifest:
    """Return the manifest of a set that has images in ``split``.

    Raises:
        UsageError: the folder holds no prepared set, or the split is empty.
        DataError: the manifest is damaged.
    """
    if not (folder / MANIFEST).exists():
        raise UsageError(f"--data-dir {folder} holds no prepared data set; make one: smpl-data prepare")
    manifest = load_manifest(folder)
    if not manifest.samples(split):
        others = ", ".join(name for name in SPLITS if manifest.samples(name))
        raise UsageError(f"--split {split}: {folder} has no {split} images; it has {others}")
    return manifest


def evaluate_model(
    model: TrainedModel,
    prepared: PreparedSet,
    split: str,
    batch_size: int | None,
    precision: Precision,
    views: TestViews,
) -> EvaluationReport:
    """Score a model on a split of a prepared set, in batches of ``batch_size``; None for the loader's batch size.

    Raises:
        DataError: a file of the model or of the split is damaged.
        UsageError: points have no such views.
    """
    manifest, world = prepared.manifest, prepared.world
    if manifest.image_format == "npy" and views != "plain":
        raise UsageError(f"--test-views: {views} is for pictures, {manifest.dataset} has points; leave it out")
    network = model.network().to(world.device)
    batches = regroup(prepared.open(split).batches(world), batch_size)
    logger.info("scoring %s images on %s in %s", f"{manifest.samples(split):,}", world.device.type, precision.name)
    evaluation = evaluate_classes(network, batches, manifest.classes, world, precision, views)
    return EvaluationReport(model, prepared, split, precision, views, evaluation)
