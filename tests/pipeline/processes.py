"""Real processes of a training run: started, watched, found by rank, and compared by what they leave."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests import ROOT
from tests.limits import LIMIT_S


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"SMPL_DATA": str(home / "data"), "PYTHONPATH": search_path()}


def search_path() -> str:
    """Return where a process finds this checkout, and what this process was told to find packages in."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


@contextmanager
def started(home: Path, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Give a running process; whatever ends the block, nothing is left of it."""
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
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if parent == launcher and f"RANK={rank}".encode() in variables:
            return int(folder.name)
    raise LookupError(rank)


def assert_same_model(home: Path, out: str, expected: dict[str, torch.Tensor]) -> None:
    found = load_file(home / out / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert json.loads((home / out / "summary.json").read_text())["processes"] == 2
