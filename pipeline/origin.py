"""The run that another one starts from, known by what it is: its path may be spelled otherwise, or change."""

import hashlib
import json
from pathlib import Path

from data_prep.system.errors import UsageError
from pipeline.config import Config
from pipeline.recipes import load_recipe
from pipeline.run_folder import CONFIG, SUMMARY


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
        summary = json.loads((run / SUMMARY).read_text())
        return hashlib.sha256(f"{summary['config']} {summary['data']}".encode()).hexdigest()[:16]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _noted(out: Path, start: str) -> str | None:
    try:
        tree = load_recipe(str(out / CONFIG))
    except UsageError:
        return None
    return tree.get("origin") if tree.get("start") == start else None
