"""The folder of one run: the name of every file in it, and how its configuration and its summary are read and written.

Training writes these files; the commands, the comparison and fine-tuning read them through this class alone.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from data_prep.system.atomic_files import write_durably
from data_prep.system.errors import DataError, UsageError
from pipeline.checkpoint import CheckpointFolder
from pipeline.yaml_text import read_mapping, write_mapping

CONFIG, SUMMARY, MODEL = "config.yaml", "summary.json", "model.safetensors"
REPORTED_WEIGHTS = "last, averaged"
"""The weights whose test accuracy is reported: the averaged ones after the last step.

They are fixed in advance. Choosing among weights by their accuracy on the validation or test split would bias the
result.
"""


class MissingFileError(UsageError):
    """The run has not written this file yet, or the folder holds no run."""


class Summary(BaseModel):
    """The results of a finished run, and the configuration and data that they belong to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    method: str
    seed: int
    labels: int
    """Labeled images of the prepared set."""
    steps: int
    test_views: str = "plain"
    """The copies of an image over which all results average the logits; ``plain`` is the image alone."""
    results: dict[str, dict[str, dict[str, float]]]
    """``accuracy`` in percent and ``loss`` in nats, by weights and split."""
    best_step: int | None
    """The step of the best evaluation on the validation split; None without that split."""
    config: str
    """Fingerprint of the configuration."""
    data: str
    """Fingerprint of the prepared set."""
    processes: int
    device: str
    precision: str
    compile: str
    loader: str
    parameters: dict[str, int]
    """Numbers of trainable weights by network."""
    seconds_of_last_session: float
    """Training time in seconds of the last process that worked on the run."""
    minutes_of_last_session: float
    """Minutes from the start of that process until it wrote the summary."""

    def accuracy(self, split: str) -> float | None:
        """Return the accuracy in percent of the averaged weights after the last step; None without that split."""
        return self.results[REPORTED_WEIGHTS].get(split, {}).get("accuracy")

    @property
    def test_accuracy(self) -> float:
        """Accuracy in percent on the test split, of the averaged weights after the last step."""
        return self.results[REPORTED_WEIGHTS]["test"]["accuracy"]


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, which may not have begun. Constructing this object reads and creates nothing."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def checkpoints(self) -> CheckpointFolder:
        return CheckpointFolder(self.path / "checkpoints")

    @property
    def config_file(self) -> Path:
        """The resolved configuration, which is a recipe."""
        return self.path / CONFIG

    @property
    def budget_file(self) -> Path:
        """The steps that were fitted to a time budget, with the measured times; only runs with a budget have it."""
        return self.path / "budget.json"

    @property
    def data_file(self) -> Path:
        """The path of the prepared set that the run is trained on, as text."""
        return self.path / "data_folder.txt"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def events_folder(self) -> Path:
        """The metrics for TensorBoard."""
        return self.path / "events"

    @property
    def summary_file(self) -> Path:
        return self.path / SUMMARY

    @property
    def model_file(self) -> Path:
        """The exported model: the averaged weights after the last step."""
        return self.path / MODEL

    @property
    def lock_file(self) -> Path:
        """A lock that a command holds while it works in the folder."""
        return self.path / ".lock"

    def config(self) -> dict[str, Any]:
        """Return the configuration as the mapping that a recipe is.

        Raises:
            MissingFileError: there is none.
            UsageError: it cannot be read.
        """
        if not self.config_file.exists():
            raise MissingFileError(f"{self} holds no run: there is no {CONFIG} in it")
        return read_mapping(self.config_file, str(self.config_file))

    def save_config(self, tree: Mapping[str, Any]) -> None:
        """Write a resolved configuration durably. Raises DataError."""
        write_durably(self.config_file, write_mapping(dict(tree)))

    def data_folder(self) -> Path | None:
        """Return the folder of the prepared set that the run is trained on, or None if that is not recorded."""
        with suppress(OSError, UnicodeDecodeError):
            return Path(self.data_file.read_text().rstrip("\n"))
        return None

    def save_data_folder(self, folder: Path) -> None:
        """Record the folder of the prepared set durably. Raises DataError."""
        write_durably(self.data_file, f"{folder.absolute()}\n".encode())

    def summary(self) -> Summary:
        """Return the results of the run.

        Raises:
            MissingFileError: the run has not finished.
            DataError: the file is damaged.
        """
        try:
            return Summary.model_validate(json.loads(self.summary_file.read_text()))
        except (FileNotFoundError, NotADirectoryError):
            raise self._unfinished(SUMMARY) from None
        except (OSError, ValueError, ValidationError):
            problem = "unreadable or damaged; the same smpl-train command writes it again"
            raise DataError(f"{self.summary_file}: {problem}") from None

    def exported_model(self) -> Path:
        """Return the file of the exported model. Raises MissingFileError if the run has not finished."""
        if not self.model_file.exists():
            raise self._unfinished(MODEL)
        return self.model_file

    def save_summary(self, summary: Summary) -> None:
        """Write the results durably. Raises DataError."""
        write_durably(self.summary_file, json.dumps(summary.model_dump(), indent=2).encode())

    def _unfinished(self, name: str) -> MissingFileError:
        return MissingFileError(f"{self} has not finished: there is no {name} in it; let it run to its end first")
