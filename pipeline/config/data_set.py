"""Find the prepared set of a run, prepare it first if it is missing, and compare it with the configuration."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep.dataset.manifest import MANIFEST, Manifest, load_manifest
from data_prep.dataset.mirror import mirror
from data_prep.dataset.mirror_url import is_remote
from data_prep.images.file_names import is_image
from data_prep.prepare.options import PrepareRequest, default_out, refuse_inside_source
from data_prep.prepare.run import prepare
from data_prep.system.errors import UsageError
from pipeline.config.schema import Config, DataOptions
from pipeline.data.augment import build_views
from pipeline.task import Task

MOST_ENTRIES = 10_000
"""The most files and folders among which an error line looks for images."""


@dataclass(frozen=True)
class DataSet:
    """What the command line says about the prepared set."""

    named: Path | None = None
    """The folder of ``--data-dir``; None for the default folder of the configured set."""
    flags: Mapping[str, Any] = field(default_factory=dict)
    """The data options of the command line itself, without those of the recipe."""
    source: Path | None = None
    """The official files to prepare the set from; None to download them."""
    checksum: bool = True
    """Whether those files must have the published checksums."""

    def refuse_run_inside_source(self, run: Path, dataset: str) -> None:
        """Raise UsageError if a run folder lies in a folder whose images are listed."""
        refuse_inside_source("--out", run, dataset, self.source)

    def folder(self, config: Config) -> Path:
        return self.named or default_folder(config, self.source)


def find_folder(data_dir: str) -> Path:
    """Return the folder that ``--data-dir`` names, or the local mirror of a set behind a URL.

    Raises:
        DataError: there is no prepared set behind the URL, or it cannot be fetched.
        UsageError: the driver for this kind of URL is not installed.
    """
    return mirror(data_dir) if is_remote(data_dir) else Path(data_dir)


def default_folder(config: Config, source: Path | None = None) -> Path:
    """Return the folder where ``smpl-data prepare`` puts the configured set by default.

    Args:
        config: the configuration of a run.
        source: the files of ``--source``; None if they are downloaded or embedded.
    """
    data = config.data
    return default_out(config.dataset, data.labels, data.seed, data.extra, data.include_labeled, source)


def resolve_data(config: Config, data: DataSet, *, may_prepare: bool = True) -> Config:
    """Return the configuration with the data options of the prepared set, which is prepared first if it is missing.

    In a folder that the user named, only the options of the command line are compared with those of the set; the
    recipe's are not, since they are those of the default set.

    Raises:
        UsageError: the prepared set has other options, or the views do not fit its images.
        DataError: the set cannot be prepared or opened.
    """
    folder = data.folder(config)
    expected = config.data.model_dump(exclude_none=True, exclude_unset=True) if data.named is None else data.flags
    manifest = _open(config, data, may_prepare)
    _check_options(config, folder, manifest, expected)
    _check_views(config, manifest)
    found = {key: manifest.options[key] for key in DataOptions.model_fields if key in manifest.options}
    return config.model_copy(update={"data": DataOptions.model_validate(found)})


def _open(config: Config, data: DataSet, may_prepare: bool) -> Manifest:
    folder = data.folder(config)
    if (folder / MANIFEST).exists() and not data.source:
        return load_manifest(folder)
    if (data.named and not data.source) or not may_prepare:
        raise UsageError(_unprepared(config, folder))
    refuse_inside_source("--data-dir", folder, config.dataset, data.source)
    options = config.data.model_dump()
    return prepare(PrepareRequest(config.dataset, out=folder, source=data.source, checksum=data.checksum, **options))


def _unprepared(config: Config, folder: Path) -> str:
    """Return the error line for a folder that holds no prepared set, or raw images in place of one."""
    entries = islice(folder.rglob("*"), MOST_ENTRIES) if folder.is_dir() else ()
    if any(is_image(os.fsencode(entry.name)) for entry in entries):
        return f"--data-dir {folder} holds images, not a prepared set; train on them with --source {folder}"
    command = f"smpl-data prepare {config.dataset} --out {folder}"
    return f"--data-dir {folder} holds no prepared data set; make one: {command}"


def _check_options(config: Config, folder: Path, manifest: Manifest, expected: Mapping[str, Any]) -> None:
    if manifest.dataset != config.dataset:
        raise UsageError(f"{folder} holds {manifest.dataset}, not {config.dataset}; add --dataset {manifest.dataset}")
    for key, value in expected.items():
        if (found := manifest.options.get(key)) != value:
            raise UsageError(f"data.{key}: {value} is requested, {folder} has {found}; name another with --data-dir")


def _check_views(config: Config, manifest: Manifest) -> None:
    augment = config.augment
    if manifest.image_format == "npy":
        learned = augment.policy if augment.policy != "randaugment" else None
        if config.test_views != "plain":
            problem = f"{config.test_views} is for pictures, {manifest.dataset} has points"
            raise UsageError(f"test_views: {problem}; leave it out")
        for key in ("flip", "pad", "cutout", "size", "ops"):
            if value := getattr(augment, key) or (key == "ops" and learned):
                problem = f"{value} is for pictures, {manifest.dataset} has points"
                raise UsageError(f"augment.{key}: {problem}; turn it off, as recipe moons does")
    try:
        build_views(augment, *Task.of(manifest, augment.size).shape[1:])
    except ValueError as error:
        raise UsageError(f"augment.{error}") from None
