"""Start the processes of a training run, watch them, find a rank among them, and compare the models that they save."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file

from tests import ROOT
from tests.limits import LIMIT_S


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"SMPL_DATA": str(home / "data"), "PYTHONPATH": search_path()}


def search_path() -> str:
    """Return the PYTHONPATH with which a process imports this checkout and whatever this process can import."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


@contextmanager
def started(home: Path, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process, and kill it at the end of the block if it is still running."""
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, cwd=home, env=environment(home), stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def run(home: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    settings = {"cwd": home, "env": environment(home), "capture_output": True, "text": True, "timeout": LIMIT_S}
    return subprocess.run(arguments, check=False, **settings)


def steps_logged(home: Path, out: str) -> int:
    path = home / out / "metrics.jsonl"
    return path.read_text().count('"group": "train"') if path.exists() else 0


def rank_process(launcher: int, rank: int) -> int:
    """Return the process id of a rank that ``launcher`` started."""
    for child in psutil.Process(launcher).children():
        with suppress(psutil.Error):
            if child.environ().get("RANK") == str(rank):
                return child.pid
    raise LookupError(rank)


def assert_same_model(home: Path, out: str, expected: dict[str, torch.Tensor]) -> None:
    found = load_file(home / out / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert json.loads((home / out / "summary.json").read_text())["processes"] == 2
