"""Checks of the machine, the run folder and the first weights before a run starts, so that a mistake costs a second.

The command does them once, in its own process; the ranks that it starts do not repeat them.
"""

from pathlib import Path

from data_prep.dataset.manifest import load_manifest
from data_prep.system.errors import UsageError
from pipeline.config.resolve import flatten, resolve
from pipeline.config.schema import MAY_CHANGE, Config, batch_error
from pipeline.distributed.world import this_device
from pipeline.methods import METHODS
from pipeline.run_folder import MissingFileError, RunFolder
from pipeline.task import Task
from pipeline.training.compilation import choose_compiler
from pipeline.training.factory import build_module
from pipeline.training.time_budget import read_budget
from pipeline.training.warm_start import read_finished_run

MAX_KEYS = 5
"""The most differing keys that an error line names; it gives the number of the others."""


def check_machine(config: Config, run: RunFolder, processes: int) -> None:
    """Refuse what this machine cannot run, and a run that would train nothing. Raises UsageError.

    Args:
        config: the configuration of the run.
        run: its folder, which may not exist yet.
        processes: ranks on all nodes.
    """
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
    """Refuse a run folder that holds a run with another configuration.

    A budget may change as long as no steps are fitted to it: the first one may have been too small.

    Raises:
        UsageError: the error names the keys that differ.
        DataError: the record of its budget is damaged.
    """
    if (done := max(run.checkpoints.steps(), default=0)) > config.steps:
        raise UsageError(f"steps: {run} is at step {done} already, beyond {config.steps}; give another --out")
    budget = read_budget(run.path)
    may_change = MAY_CHANGE if budget else MAY_CHANGE | {"budget_minutes"}
    try:
        tree = run.config()
        recorded = resolve(tree, {}) if budget else None
    except MissingFileError:
        return
    except UsageError as error:
        raise UsageError(f"{error}; this is no run folder, or a damaged one: give another --out") from None
    if budget and recorded:  # a run killed while recording has a budget, but not yet the fitted steps
        tree = budget.apply(recorded, run.path).tree()
    before, now = flatten(tree), flatten(config.tree())
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    differing = [f"{key} {before.get(key)} there, {now.get(key)} here" for key in keys if key not in may_change]
    if differing:
        more = f" and {len(differing) - MAX_KEYS} more" if len(differing) > MAX_KEYS else ""
        shown = "; ".join(differing[:MAX_KEYS]) + more
        raise UsageError(f"{run} holds a run with another configuration: {shown}; give another --out")


def check_start(config: Config, data: Path, run: RunFolder) -> None:
    """Refuse weights to start from that are missing, do not fit, or may have been trained on this set's test split.

    A run that is resumed no longer needs them.

    Args:
        config: the configuration of the run.
        data: folder of the prepared set.
        run: the run's folder.

    Raises:
        UsageError: the weights are refused.
        DataError: the exported model is damaged.
    """
    if config.start is None or run.checkpoints.steps():
        return
    start, manifest = read_finished_run(Path(config.start), config.finetune.network), load_manifest(data)
    if start.data != manifest.fingerprint:
        known, here = f"data {start.data[:12]}", f"{data} is {manifest.fingerprint[:12]}"
        raise UsageError(f"start: {config.start} was trained on {known}, {here}; name its own with --data-dir")
    for name in METHODS.load(config.method).networks_needed:
        start.load_into(build_module(config.without_weights(), name, Task.of(manifest, config.augment.size)), name)


def recorded_recipe(run: RunFolder) -> str:
    """Return the path of the configuration in a run folder, for use as a recipe. Raises UsageError if there is none."""
    try:
        run.config()
    except MissingFileError as error:
        raise UsageError(f"--test-only: {error}; name a run folder with --out") from None
    return str(run.config_file)


def check_test(run: RunFolder, nproc: int | None) -> None:
    """Refuse ``--test-only`` without a checkpoint, or on several processes. Raises UsageError."""
    if nproc not in {None, 1}:
        raise UsageError(f"--test-only runs in one process; leave --nproc {nproc} out")
    if not run.checkpoints.steps():
        raise UsageError(f"--test-only: {run} holds no checkpoint; name the folder of a run with --out")
