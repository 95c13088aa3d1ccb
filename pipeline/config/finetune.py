"""The configuration of ``--finetune``: training a finished run's averaged weights further, on labeled images alone.

This file says which settings such a run has. Its first weights are loaded as those of any run with the key ``start``,
by ``training/warm_start.py``.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.system.errors import UsageError
from pipeline.config.resolve import Tree, resolve
from pipeline.config.schema import Config
from pipeline.methods import METHODS
from pipeline.run_folder import MissingFileError, RunFolder


def finetune_config(run: Path, recipe: str | None, flags: Tree) -> Config:
    """Return the configuration that fine-tunes ``run``; the command line overrides it. Raises UsageError."""
    if recipe is not None or flags.keys() & {"method", "start"}:
        raise UsageError("--finetune takes recipe, method and start from RUN; leave --recipe, --method and start out")
    overrides = {key: value for key, value in flags.items() if key == "finetune"}
    return resolve(finetune_recipe(run, overrides), flags, f"--finetune {run}")


def finetune_recipe(run: Path, overrides: Tree | None = None) -> dict[str, Any]:
    """Return the recipe that fine-tunes a run: the run's own settings, except for those that fine-tuning changes.

    Args:
        run: folder of a finished run.
        overrides: ``{"finetune": ...}`` with the options of the command line, which replace the run's.

    Raises:
        UsageError: ``run`` holds no configuration, or it evaluates several networks and ``finetune.network`` names none
            of them.
    """
    folder = RunFolder(run)
    try:
        tree = folder.config()
    except MissingFileError as error:
        raise UsageError(f"--finetune: {error}") from None
    config = resolve(tree, overrides or {}, str(folder.config_file))
    network = _choose(METHODS.load(config.method).evaluated, config.finetune.network, run)
    bare = config.without_weights()  # the weights are the run's, not those of the file that it once started from
    optimizer = {"schedule": "constant", "warmup": 0, "lr": config.finetune.lr}
    return config.model_dump(mode="json", exclude={"sections"}) | {
        "method": "supervised",
        "start": str(run),
        "origin": None,
        "steps": config.finetune.steps,
        "budget_minutes": None,
        "augment": config.augment.model_dump(mode="json") | {"labeled": "weak"},
        "optimizer": config.optimizer_of(network).model_dump(mode="json") | optimizer,
        "networks": {},
        "model": bare.model | bare.model_options_of(network).model_dump(mode="json"),
    }


def default_finetune_folder(run: Path) -> Path:
    """Return the default folder of a run that fine-tunes ``run``: its path with ``-finetuned`` added to the name."""
    run = run if run.name.strip(".") else run.resolve()
    return run.with_name(f"{run.name}-finetuned")


def _choose(evaluated: Sequence[str], network: str | None, run: Path) -> str:
    """Return the evaluated network to start from. Raises UsageError unless exactly one fits."""
    fitting = [name for name in evaluated if network in {None, name}]
    if len(fitting) == 1:
        return fitting[0]
    which = f"{run} has no network {network!r}" if network else f"{run} evaluates several networks"
    raise UsageError(f"--finetune: {which}; choose from {', '.join(evaluated)} by --set finetune.network=NAME")


def resolve_start(config: Config, out: Path) -> Config:
    """Return the configuration with ``origin`` set to the fingerprint of the run at ``start``.

    If that run no longer exists, ``origin`` stays what the recipe says, or is what the run in ``out`` recorded when it
    started from the same path. Raises DataError if the summary of the run at ``start`` is damaged.
    """
    if config.start is None:
        return config
    origin = _fingerprint(Path(config.start)) or config.origin or _recorded_origin(out, config.start)
    return config.model_copy(update={"origin": origin})


def _fingerprint(run: Path) -> str | None:
    """Return a hash of the configuration and the data that shaped a run's weights; None if it has not finished."""
    try:
        summary = RunFolder(run).summary()
    except MissingFileError:
        return None
    return hashlib.sha256(f"{summary.config} {summary.data}".encode()).hexdigest()[:16]


def _recorded_origin(out: Path, start: str) -> str | None:
    try:
        tree = RunFolder(out).config()
    except MissingFileError:
        return None
    return tree.get("origin") if tree.get("start") == start else None
