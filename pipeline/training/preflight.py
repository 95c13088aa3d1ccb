"""What is checked before a run starts, so that a mistake costs a second and loses nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.dataset.manifest import MANIFEST, Manifest, load_manifest
from data_prep.dataset.mirror import is_remote, mirror
from data_prep.prepare.run import Request, default_out, prepare
from data_prep.system.errors import UsageError
from pipeline.config.resolve import flatten, resolve
from pipeline.config.schema import MAY_CHANGE, Config, DataOptions, batch_error
from pipeline.data.augment import build_views
from pipeline.distributed.world import this_device
from pipeline.methods import METHODS
from pipeline.precision import choose_precision
from pipeline.run_folder import MissingFileError, RunFolder
from pipeline.task import Task
from pipeline.training.compilation import choose_compiler
from pipeline.training.factory import build_module
from pipeline.training.time_budget import read_budget
from pipeline.training.warm_start import read_start


def check_machine(config: Config, run: RunFolder, processes: int) -> None:
    """Refuse what cannot be run here, or would train nothing. Raises UsageError."""
    choose_precision(config.precision, this_device())
    choose_compiler(config.compile, this_device(), processes)
    if problem := batch_error(config, processes):
        raise UsageError(problem)
    if run.path.exists() and not run.path.is_dir():
        raise UsageError(f"--out {run} is a file; name a folder")
    method = METHODS.load(config.method)
    start_steps = method.start_steps(config.method_options())
    for name in method.evaluated:
        if start_steps.get(name, 0) >= config.steps:
            raise UsageError(f"steps: {config.steps} are over before the {name} begins, at step {start_steps[name]}")


def check_run(config: Config, run: RunFolder) -> None:
    """Refuse a run folder that holds another run.

    Until steps are fitted to it, a budget may change: it may have been too small.

    Raises:
        UsageError: there is one; it names the keys that differ.
        DataError: the record of its budget is damaged.
    """
    budget = read_budget(run.path)
    may_change = MAY_CHANGE if budget else MAY_CHANGE | {"budget_minutes"}
    try:
        tree = run.config()
        there = resolve(tree, {}) if budget else None
    except MissingFileError:
        return
    except UsageError as error:
        raise UsageError(f"{error}; this is no run folder, or a damaged one: give another --out") from None
    if budget and there:  # it may have been noted an instant before the configuration
        tree = budget.settle(there, run.path).tree()
    before, now = flatten(tree), flatten(config.tree())
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    differing = [f"{key} {before.get(key)} there, {now.get(key)} here" for key in keys if key not in may_change]
    if differing:
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        shown = "; ".join(differing[:5]) + more
        raise UsageError(f"{run} holds a run with another configuration: {shown}; give another --out")


def check_start(config: Config, data: Path, run: RunFolder) -> None:
    """Refuse weights to start from that cannot be had, do not fit, or may have learned from other data's test split.

    A run that is resumed needs them no more.

    Raises:
        UsageError: as said.
        DataError: the exported model is damaged.
    """
    if config.start is None or run.checkpoints.steps():
        return
    start, manifest = read_start(Path(config.start), config.finetune.network), load_manifest(data)
    if start.data != manifest.fingerprint:
        known, here = f"data {start.data[:12]}", f"{data} is {manifest.fingerprint[:12]}"
        raise UsageError(f"start: {config.start} was trained on {known}, {here}; name its own with --data-dir")
    for name in METHODS.load(config.method).networks_needed:
        start.load_into(build_module(config.without_weights(), name, Task.of(manifest, config.augment.size)), name)


def own_recipe(run: RunFolder) -> str:
    """Return the recipe that a run folder is of its own. Raises UsageError if it holds no run."""
    try:
        run.config()
    except MissingFileError as error:
        raise UsageError(f"--test-only: {error}; name a run folder with --out") from None
    return str(run.config_file)


def check_test(run: RunFolder, nproc: int | None) -> None:
    """Refuse to test where there is nothing to test, or on several processes. Raises UsageError."""
    if nproc not in {None, 1}:
        raise UsageError(f"--test-only is done by one process; leave --nproc {nproc} out")
    if not run.checkpoints.steps():
        raise UsageError(f"--test-only: {run} holds no checkpoint; name the folder of a run with --out")


def find_folder(data_dir: str) -> Path:
    """Return the folder that was named, or the one that stands for a set behind a URL.

    Raises:
        DataError: there is no prepared set behind the URL, or it cannot be had.
        UsageError: the driver for this kind of URL is not installed.
    """
    return mirror(data_dir) if is_remote(data_dir) else Path(data_dir)


def default_folder(config: Config) -> Path:
    """Return where ``smpl-data prepare`` puts the configured data set if it is not told."""
    return default_out(config.dataset, config.data.labels, config.data.seed, config.data.extra)


@dataclass(frozen=True)
class DataSet:
    """The prepared set of a run, as the command line asks for it."""

    named: Path | None
    """The folder that the user named; None for the usual place of the configured set."""
    given: Mapping[str, Any]
    """Data options of the command line itself."""
    source: Path | None = None
    checksum: bool = True

    def folder(self, config: Config) -> Path:
        return self.named or default_folder(config)


def settle_data(config: Config, data: DataSet, *, may_prepare: bool = True) -> Config:
    """Return the configuration with the data options of the prepared set, preparing it first if need be.

    A folder that the user named is taken as it is but for what the command line itself asks.

    Raises:
        UsageError: the prepared set is another than asked for, or the views do not fit its images.
        DataError: the set cannot be prepared or opened.
    """
    folder = data.folder(config)
    asked = config.data.model_dump(exclude_none=True, exclude_unset=True) if data.named is None else data.given
    manifest = _open(config, data, may_prepare)
    _check_asked(config, folder, manifest, asked)
    _check_views(config, manifest)
    found = {key: manifest.options[key] for key in DataOptions.model_fields if key in manifest.options}
    return config.model_copy(update={"data": DataOptions.model_validate(found)})


def _check_asked(config: Config, folder: Path, manifest: Manifest, asked: Mapping[str, Any]) -> None:
    if manifest.dataset != config.dataset:
        raise UsageError(f"{folder} holds {manifest.dataset}, not {config.dataset}; add --dataset {manifest.dataset}")
    for key, value in asked.items():
        if manifest.options.get(key) != value:
            there = manifest.options.get(key)
            raise UsageError(f"data.{key}: {value} is asked for, {folder} has {there}; name another with --data-dir")


def _check_views(config: Config, manifest: Manifest) -> None:
    augment = config.augment
    if manifest.image_format == "npy":
        learned = augment.policy if augment.policy != "randaugment" else None
        for key in ("flip", "pad", "cutout", "size", "ops"):
            if value := getattr(augment, key) or (key == "ops" and learned):
                problem = f"{value} is for pictures, {manifest.dataset} has points"
                raise UsageError(f"augment.{key}: {problem}; turn it off, as recipe moons does")
    try:
        build_views(augment, *Task.of(manifest, augment.size).shape[1:])
    except ValueError as error:
        raise UsageError(f"augment.{error}") from None


def _open(config: Config, data: DataSet, may_prepare: bool) -> Manifest:
    folder = data.folder(config)
    if data.named and data.source:
        raise UsageError(
            f"--source {data.source} and --data-dir {folder}: one is to be prepared, the other is; leave one out"
        )
    if (folder / MANIFEST).exists() and not data.source:
        return load_manifest(folder)
    if data.named or not may_prepare:
        command = f"smpl-data prepare {config.dataset} --out {folder}"
        raise UsageError(f"--data-dir {folder} holds no prepared data set; make one: {command}")
    options = config.data.model_dump()
    return prepare(Request(config.dataset, out=folder, source=data.source, checksum=data.checksum, **options))
