"""A trained model that is evaluated: what is known about it, and how a prepared set must be read to fit it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from data_prep.dataset.checksums import hash_file
from data_prep.dataset.manifest import MANIFEST, Manifest
from data_prep.system.errors import UsageError
from pipeline.config.data_set import default_folder
from pipeline.config.resolve import resolve
from pipeline.config.schema import Config
from pipeline.data.loader_choice import RESIDENT
from pipeline.data.streaming.dali import has_dali
from pipeline.models.ensemble import combine
from pipeline.models.export import Export, read_export
from pipeline.run_folder import CONFIG, MODEL, MissingFileError, RunFolder
from pipeline.task import Task, view_side


@dataclass(frozen=True)
class TrainedModel:
    """An exported model, with what its run folder says about it."""

    path: Path
    """The exported file, usually ``model.safetensors``."""
    sha256: str
    """The sha256 of the file, in hexadecimal."""
    export: Export
    config: Config | None
    """The configuration of its run, if there is one beside the file."""
    trained_on: str | None
    """The fingerprint of the prepared set that it was trained on, if it is known."""

    def network(self) -> nn.Module:
        """Return the network, or the ensemble of several, on the CPU and in evaluation mode. Raises DataError."""
        return combine({name: self.export.build(name) for name in self.export.metadata.members}).eval()

    def default_folder(self) -> Path:
        """Return the folder of the prepared set that its run was trained on. Raises UsageError."""
        if self.config is None:
            raise UsageError(f"{self.path}: no {CONFIG} beside it names its data set; name one with --data-dir")
        folder = RunFolder(self.path.parent).data_folder() or default_folder(self.config)
        if not (folder / MANIFEST).exists():
            raise UsageError(f"{folder} holds no prepared data set; name the run's with --data-dir")
        return folder

    def config_for(self, manifest: Manifest, folder: Path) -> Config:
        """Return the configuration for reading the set in ``folder``: that of the run, with images of the model's size.

        Raises:
            UsageError: the set has other classes, or images that cannot be brought to the model's shape.
        """
        self._check_classes(manifest, folder)
        height, width, _ = self.export.metadata.shape
        size = height if height == width and manifest.image_format != "npy" else None
        self._check_shape(Task.of(manifest, size).shape, folder)
        config = self.config or Config()
        resized = view_side(manifest, size) is not None
        unusable = (config.loader.name == RESIDENT and resized) or (config.loader.name == "dali" and not has_dali())
        loader = config.loader.model_copy(update={"name": "auto"} if unusable else {})
        return config.model_copy(update={"loader": loader, "augment": config.augment.model_copy(update={"size": size})})

    def _check_classes(self, manifest: Manifest, folder: Path) -> None:
        classes = tuple(self.export.metadata.classes)
        if classes != manifest.classes:
            raise UsageError(f"{folder} does not fit {self.path}: {_difference(manifest.classes, classes)}")

    def _check_shape(self, shape: tuple[int, int, int], folder: Path) -> None:
        """Compare the shape [C, H, W] of the set's images with the model's."""
        height, width, channels = self.export.metadata.shape
        if shape != (channels, height, width):
            here, wanted = ("x".join(map(str, sizes)) for sizes in (shape, (channels, height, width)))
            problem = f"its images are {here} (C x H x W), the model's {wanted}"
            raise UsageError(f"{folder} does not fit {self.path}: {problem}")


def find_model(path: Path) -> TrainedModel:
    """Open the folder of a finished run, or an exported file, which is described by the run folder that it is in.

    Raises:
        UsageError: there is no such run, it has not finished, or its configuration cannot be read.
        DataError: the exported model or the run's summary is damaged.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such run folder or model file")
    file = path / MODEL if path.is_dir() else path
    run = RunFolder(file.parent)
    if not file.exists():
        if not run.config_file.exists():
            raise UsageError(f"{run} is no run folder: it holds neither {MODEL} nor {CONFIG}")
        alternative = f"score its checkpoint: smpl-train --test-only --out {run}"
        raise UsageError(f"{run} has not finished: it holds no {MODEL}; let the run end, or {alternative}")
    config = resolve(run.config(), {}, str(run.config_file)) if run.config_file.exists() else None
    return TrainedModel(file, hash_file(file)[1], read_export(file), config, _trained_on(run))


def _difference(here: Sequence[str], expected: Sequence[str]) -> str:
    if len(here) != len(expected):
        return f"it has {len(here)} classes, the model {len(expected)}"
    index = next(index for index, name in enumerate(here) if name != expected[index])
    return f"its class {index} is {here[index]!r}, the model's {expected[index]!r}"


def _trained_on(run: RunFolder) -> str | None:
    with suppress(MissingFileError):
        return run.summary().data
    return None
