"""Read the command lines of containers with the real commands, without running them."""

from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from data_prep import cli
from data_prep.prepare.options import PrepareRequest, resolve
from pipeline import train
from pipeline.cli import main as smpl
from pipeline.config.data_set import DataSet
from pipeline.config.schema import Config
from pipeline.run_folder import RunFolder
from pipeline.training import train_command
from tests.k8s.objects import Object, Workload
from tests.k8s.resources import quantity
from tests.k8s.wiring import REFERENCE

OF_THE_IMAGE = {"SMPL_DATA": "/data", "SMPL_RUNS": "/out", "SMPL_CACHE": "/data/.cache", "HOME": "/tmp"}
PROGRAMS = {"python", "sh", "tensorboard", "smpl-data", "smpl-train", "smpl"}
"""Words that docker/entrypoint runs as programs; any other first word is a command of smpl."""


@dataclass(frozen=True)
class Training:
    """A call of smpl-train."""

    config: Config
    folder: Path
    """The folder of the prepared set."""
    out: Path

    @classmethod
    def of(cls, config: Config, data: DataSet, run: RunFolder, nproc: int | None) -> "Training":
        """Return what smpl-train would start with; no manifest sets the number of processes."""
        assert nproc is None
        return cls(config, data.folder(config), run.path)


@dataclass(frozen=True)
class Preparing:
    """A call of smpl data prepare."""

    request: PrepareRequest
    folder: Path
    options: dict[str, Any]

    @classmethod
    def of(cls, request: PrepareRequest) -> "Preparing":
        """Return what it would prepare; any existing folder replaces the source, which does not exist here."""
        here = replace(request, source=request.source and Path.cwd())
        resolved = resolve(here)
        return cls(request, resolved.folder, resolved.options)


@dataclass(frozen=True)
class Finishing:
    """A call of smpl data finish."""

    folder: Path
    wait: int | None
    """Seconds."""


class Reader:
    """Reads command lines, with the variables of the image and of the container in the environment.

    Args:
        patch: keeps the commands from doing their work.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.seen: list[Any] = []
        patch.setattr(train_command, "MODES", {None: lambda *given: self.seen.append(Training.of(*given))})
        patch.setattr(cli, "resolve", self._prepare)
        patch.setattr(cli.finish, "callback", lambda folder, wait: self.seen.append(Finishing(folder, wait)))

    def read(self, work: Workload, part: Object, index: int = 0) -> list[Any]:
        """Return what a container would run in the pod of an index: Training, Preparing, Finishing, or a program."""
        self.seen.clear()
        env = OF_THE_IMAGE | environment(work, part, index)
        with self.patch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            self._run([REFERENCE.sub(lambda found: env[found[1]], word) for word in part["args"]])
        return list(self.seen)

    def _run(self, words: list[str]) -> None:
        if words[0] in PROGRAMS:
            self.seen.append(words)
        else:
            command = train.main if words[0].startswith("-") else smpl
            with suppress(_HeldBackError):
                command.main(words, standalone_mode=False)

    def _prepare(self, request: PrepareRequest) -> None:
        self.seen.append(Preparing.of(request))
        raise _HeldBackError


class _HeldBackError(Exception):
    """Ends a command before it does its work."""


def environment(work: Workload, part: Object, index: int) -> dict[str, str]:
    """Return the environment variables of a container in the pod of an index."""
    found = {name: _value(variable, part, index) for name, variable in work.env(part).items()}
    added = {"JOB_COMPLETION_INDEX": str(index)} if work.spec.get("completionMode") == "Indexed" else {}
    return added | found


def _value(variable: Object, part: Object, index: int) -> str:
    if "value" in variable:
        return str(variable["value"])
    source = variable["valueFrom"]
    if "resourceFieldRef" in source:
        _, _, name = source["resourceFieldRef"]["resource"].partition(".")
        return str(ceil(quantity(part["resources"]["limits"][name])))
    return str(index)
