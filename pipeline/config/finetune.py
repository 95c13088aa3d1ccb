"""Fine-tuning: a finished run's averaged weights, trained further on the labeled images alone."""

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
    """Put the command line over the recipe of fine-tuning ``run``. Raises UsageError."""
    if recipe is not None or flags.keys() & {"method", "start"}:
        raise UsageError("--finetune takes recipe, method and start from RUN; leave --recipe, --method and start out")
    asked = {key: value for key, value in flags.items() if key == "finetune"}
    return resolve(finetune_recipe(run, asked), flags, f"--finetune {run}")


def finetune_recipe(run: Path, asked: Tree | None = None) -> dict[str, Any]:
    """Return the tree that a recipe would be: ``run``'s own settings, but for those that fine-tuning has otherwise.

    Args:
        run: folder of a finished run.
        asked: ``{"finetune": ...}`` where the command line has other options than the run.

    Raises:
        UsageError: ``run`` holds no configuration, or has several evaluated networks and ``finetune.network`` none of
            them.
    """
    folder = RunFolder(run)
    try:
        tree = folder.config()
    except MissingFileError as error:
        raise UsageError(f"--finetune: {error}") from None
    config = resolve(tree, asked or {}, str(folder.config_file))
    network = _choose(METHODS.load(config.method).evaluated, config.finetune.network, run)
    own = config.without_weights()  # they are the run's: those with which it once began are not asked for again
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
        "model": own.model | own.model_options_of(network).model_dump(mode="json"),
    }


def finetuned(run: Path) -> Path:
    """Return the folder of a fine-tuning that was not told where to go."""
    run = run if run.name.strip(".") else run.resolve()
    return run.with_name(f"{run.name}-finetuned")


def _choose(evaluated: Sequence[str], network: str | None, run: Path) -> str:
    fitting = [name for name in evaluated if network in {None, name}]
    if len(fitting) == 1:
        return fitting[0]
    which = f"{run} has no network {network!r}" if network else f"{run} evaluates several networks"
    raise UsageError(f"--finetune: {which}; choose from {', '.join(evaluated)} by --set finetune.network=NAME")


def settle_start(config: Config, out: Path) -> Config:
    """Return the configuration with the fingerprint of the run to start from.

    Where that run is gone, it is what the recipe says, or what the run in ``out`` noted when it began at that path.
    """
    if config.start is None:
        return config
    origin = _fingerprint(Path(config.start)) or config.origin or _noted(out, config.start)
    return config.model_copy(update={"origin": origin})


def _fingerprint(run: Path) -> str | None:
    """Return a hash over what shaped a finished run's weights and the data they learned from."""
    try:
        summary = RunFolder(run).summary()
    except MissingFileError:
        return None
    return hashlib.sha256(f"{summary.config} {summary.data}".encode()).hexdigest()[:16]


def _noted(out: Path, start: str) -> str | None:
    try:
        tree = RunFolder(out).config()
    except MissingFileError:
        return None
    return tree.get("origin") if tree.get("start") == start else None
