"""Follow docs/own-method.md: write its files, install its package, run its commands and its test."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from tests import ROOT
from tests.limits import LIMIT_S

PAGE = ROOT / "docs" / "own-method.md"
FILES = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text(), re.M | re.S))
"""The code blocks of the page that are files, by file name."""
METHOD, TEST = "smpl_softmatch.py", "tests/test_softmatch.py"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package of the page in ``own``, which pip has installed into ``site``."""
    home = tmp_path_factory.mktemp("home")
    for name, text in FILES.items():
        path = home / ("." if name == TEST else "own") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(home / "site"), "."], cwd=home / "own", check=True)
    return home


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python in ``home``, where the package is installed."""
    places = filter(None, [str(home / "site"), str(ROOT), os.environ.get("PYTHONPATH")])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "SMPL_DATA": str(home / "data")}
    command = [sys.executable, "-m", *arguments]
    settings = {"cwd": home, "env": environment, "capture_output": True, "text": True, "timeout": LIMIT_S}
    return subprocess.run(command, check=False, **settings)


def test_a_whole_method_is_one_block_of_under_60_lines() -> None:
    assert set(FILES) == {METHOD, "pyproject.toml", TEST}
    assert len(FILES[METHOD].splitlines()) < 60


@pytest.mark.slow
def test_the_installed_method_trains_by_its_name_with_its_section_and_logs_what_it_reports(home: Path) -> None:
    short = ["--steps", "4", "--batch-size", "4", "--mu", "2", "--set", "log_every=2", "--out", "run"]
    done = run(home, "pipeline.train", "--method", "softmatch", "--set", "softmatch.weight=2", *short)
    assert done.returncode == 0, done.stderr
    summary = json.loads((home / "run/summary.json").read_text())
    assert (summary["method"], summary["steps"]) == ("softmatch", 4)
    assert "softmatch:\n  weight: 2.0\n  decay: 0.999\n" in (home / "run/config.yaml").read_text()
    lines = [json.loads(line) for line in (home / "run/metrics.jsonl").read_text().splitlines()]
    reported = [line["trust"] for line in lines if line["group"] == "train"]
    assert len(reported) == 2
    assert all(0 < trust <= 1 for trust in reported)


@pytest.mark.slow
def test_micro_batches_and_processes_change_nothing_as_the_page_says(home: Path) -> None:
    done = run(home, "pytest", "-q", "-p", "no:cacheprovider", TEST)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_compare_knows_its_rows_and_its_keys(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(home / "site")
    rows = "softmatch,softmatch:softmatch.decai=0.9"
    result = CliRunner().invoke(main, ["compare", "--methods", rows, "--out", str(home / "table")])
    assert result.exit_code == 2
    assert result.stderr == "error: command line: softmatch.decai: unknown key; did you mean 'decay'?\n"
