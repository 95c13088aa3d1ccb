"""Run a Python process for a check, in a temporary folder and without the environment variables of a run."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.doctor.folders import CACHES
from pipeline.python_process import FinishedProcess, run_python

ROOT = Path(__file__).parents[2]
"""The folder that holds the packages of this project."""
LAUNCHER_PREFIXES = ("PET_", "TORCHELASTIC_", "MASTER_", "GROUP_", "ROLE_", "SMPL_OUTCOME")
RANK_VARIABLES = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}


def run_isolated(
    arguments: Sequence[str], seconds: float, variables: Mapping[str, str] | None = None
) -> FinishedProcess:
    """Run ``python ARGUMENTS``, with additional environment ``variables``, for at most ``seconds``.

    The process works in a temporary folder and keeps its caches there; the folder is removed afterwards. ``{}`` in an
    argument stands for its path. The process does not see the variables that describe other ranks or nodes.
    """
    with tempfile.TemporaryDirectory(prefix="smpl-doctor-") as name:
        caches = dict.fromkeys(("TMPDIR", *CACHES, "CUDA_CACHE_PATH"), name)
        environment = _environment() | caches | dict(variables or {})
        words = [argument.replace("{}", name) for argument in arguments]
        return run_python(words, environment, seconds=seconds, folder=Path(name))


def _environment() -> dict[str, str]:
    """Return the variables of this process without those that describe the ranks and nodes of a run."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in RANK_VARIABLES and (name == "PET_LOCAL_ADDR" or not name.startswith(LAUNCHER_PREFIXES))
    }
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, [kept.get("PYTHONPATH"), str(ROOT)]))}
