"""The GPU suite, rehearsed on a CPU: each part leaves a result, whatever ends the call, and no process stays behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks import cli as bench
from benchmarks.gpu import packages, runner
from benchmarks.gpu.command import main, why_not
from benchmarks.gpu.parts import FULL, REHEARSAL, Part, Size, list_parts
from benchmarks.gpu.runner import ROOT, run_part
from benchmarks.gpu.tests import outcomes
from pipeline import train
from tests.limits import LIMIT_S, wait_for

BLOCKED = """import sys
for name in {names}:
    sys.modules[name] = None  # an import of it raises ImportError
"""
HIDDEN = """import importlib.metadata as metadata
found = metadata.version
def version(name):
    if name == "click":
        raise metadata.PackageNotFoundError
    return found(name)
metadata.version = version
"""
MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn", "pip": "", "setuptools": ""}
"""Import names that differ from the names of packages; pip and setuptools belong to every environment."""


def record(path: Path) -> dict[str, Any]:
    """Return a result; an empty one if there is none yet."""
    with suppress(OSError):
        return json.loads(path.read_text())
    return {}


def alive(mark: Path) -> list[str]:
    """Return the command lines of all living processes that contain the mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(mark) in line]


@contextmanager
def rehearsal(folder: Path, *words: str, **environment: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a rehearsal, and kill it at the end if it still runs."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--minutes", "600", "--work", str(folder), *words]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_rehearsal_runs_all_parts_with_no_package_but_those_that_they_need(tmp_path: Path) -> None:
    others = packages.lowest_versions().keys() - {name for names in packages.NEEDS.values() for name in names}
    blocked = [MODULES.get(name, name) for name in others if not name.startswith("pytest")]
    (tmp_path / "sitecustomize.py").write_text(BLOCKED.format(names=[name for name in blocked if name]))
    words = ("--commit", "abc", "--data", str(tmp_path / "none"))
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    with rehearsal(tmp_path, *words, PYTHONPATH=paths, SMPL_DATA=str(tmp_path / "data")) as process:
        assert process.wait(LIMIT_S) == 0
    results = {name: record(tmp_path / f"gpu-{name}.json") for name in packages.NEEDS}
    assert {(result["ending"], result["commit"]) for result in results.values()} == {("done", "abc")}
    assert all(result["machine"]["torch"] and "benchmarks.gpu" in result["command"] for result in results.values())
    (tested,) = results["tests"]["rows"]
    assert tested["passed"] + tested["skipped"] > 0
    assert [row["method"] for row in results["steps"]["rows"]] == ["uda", "uda"]
    for name in ("short", "long"):
        rows = results[name]["rows"]
        assert [(row["step"], "val" in row, "test" in row) for row in rows] == [(2, 1, 0), (4, 1, 0), (4, 0, 1)]
        assert [row["minutes"] for row in rows] == sorted(row["minutes"] for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "ending"), [(signal.SIGTERM, "cut"), (signal.SIGKILL, "running")])
def test_a_call_that_is_stopped_keeps_its_results_and_leaves_no_process(
    number: signal.Signals, ending: str, tmp_path: Path
) -> None:
    begun = tmp_path / "gpu-steps.json"
    with rehearsal(tmp_path, "--only", "tests", "--only", "steps") as process:
        wait_for(lambda: record(begun) and any("bench step" in line for line in alive(tmp_path)), process)
        process.send_signal(number)
        assert process.wait(LIMIT_S) == {signal.SIGTERM: 4, signal.SIGKILL: -9}[number]
    wait_for(lambda: not alive(tmp_path))
    assert record(begun)["ending"] == ending
    finished = record(tmp_path / "gpu-tests.json")
    assert finished["ending"] == "done"
    assert finished["rows"]


def part(*codes: str, seconds: float = LIMIT_S) -> Part:
    """Return a part that runs Python codes in its folder, and whose rows are the lines of the file ``known`` there."""
    start = "import os, sys, pathlib, subprocess; os.chdir(sys.argv[1])\n"

    def rows(folder: Path, began: float) -> list[dict[str, Any]]:
        known = folder / "known"
        return [{"line": line} for line in known.read_text().split()] if known.exists() else []

    return Part("own", seconds, 0, lambda folder, _: (("-c", start + code, str(folder)) for code in codes), rows)


def run_own(own: Part, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Run a part; return how it ended, and its result."""
    path = tmp_path / "gpu-own.json"
    return run_part(own, tmp_path / "own", path, float("inf"), None), record(path)


def test_the_commands_after_one_that_failed_are_run_and_its_last_words_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ending, result = run_own(part("sys.exit('no such kernel')", "pathlib.Path('known').write_text('one')"), tmp_path)
    assert (ending, result["ending"], result["rows"]) == ("failed", "failed", [{"line": "one"}])
    assert "exit code 1" in caplog.text
    assert "no such kernel" in caplog.text


@pytest.mark.slow
def test_a_part_that_reaches_its_limit_is_killed_with_all_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = subprocess.Popen.wait

    def patient(process: "subprocess.Popen[bytes]", timeout: float | None = None) -> int:
        """Let a limit count from when the part has begun, however long that takes."""
        wait_for(lambda: process.poll() is not None or (tmp_path / "own" / "known").exists())
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", patient)
    child = f"import time; time.sleep({LIMIT_S})  # {tmp_path}"
    code = f"child = subprocess.Popen([sys.executable, '-c', {child!r}]); pathlib.Path('known').write_text('one')\n"
    ending, result = run_own(part(f"{code}child.wait()", seconds=1.0), tmp_path)
    assert (ending, result["ending"], result["rows"]) == ("cut", "cut", [{"line": "one"}])
    assert alive(tmp_path) == []


def test_rows_are_saved_while_a_part_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SAVE_S", 0.01)
    code = """import json, time
pathlib.Path('known').write_text('one two')
while not json.loads(pathlib.Path('../gpu-own.json').read_text())['rows']:
    time.sleep(0.01)"""
    ending, result = run_own(part(code), tmp_path)
    assert (ending, len(result["rows"])) == ("done", 2)


def test_a_part_starts_only_if_it_has_packages_data_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests, _, short, long = list_parts(FULL, tmp_path / "none")
    assert not why_not(tests, 60)
    assert "remain" in why_not(tests, 10)
    assert "no " + str(tmp_path / "none") in why_not(short, 600)
    assert not why_not(list_parts(REHEARSAL, tmp_path / "none")[2], 600)
    monkeypatch.setattr(packages, "version", lambda name: {"click": "8.1.8", "torch": "2.11.0+cu130"}.get(name, "2099"))
    assert "packages" in why_not(long, 600)


def test_missing_packages_are_named_in_one_line_with_what_can_run_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.complaint() == ""
    found = {"scikit-learn": "1.4.9", "torch": "2.11.0+cu130", "click": "8.4"}
    monkeypatch.setattr(packages, "version", lambda name: found.get(name, "2099"))
    line = packages.complaint()
    assert "missing here: scikit-learn>=1.5 (1.4.9 is installed); parts that run without: steps, short, long" in line
    found["click"] = "8.1.8"
    assert "parts that run without: none" in packages.complaint()


@pytest.mark.slow
def test_a_machine_without_click_is_told_so_before_anything_is_imported(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDDEN + BLOCKED.format(names=["click", "torch"]))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "benchmarks.gpu"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "missing here: click>=" in done.stderr


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_without_a_gpu_only_a_rehearsal_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused = run("--out", str(tmp_path))
    assert refused.exit_code == 2
    assert "--rehearse" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_installed_package_is_not_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gpu.command.SETTINGS", tmp_path / "setup.cfg")
    refused = run("--rehearse", "--work", str(tmp_path))
    assert refused.exit_code == 2
    assert "checkout" in refused.stderr


@pytest.mark.parametrize("size", [FULL, REHEARSAL], ids=["full", "rehearsal"])
def test_every_command_has_options_that_its_program_takes(size: Size, tmp_path: Path) -> None:
    for one in list_parts(size, tmp_path)[1:]:
        for flag, module, *words in one.commands(tmp_path, one.seconds if one.name == "short" else 300.0):
            assert flag == "-m"
            program: click.Command = {"pipeline.train": train.main, "pipeline.cli": bench.main}[module]
            if isinstance(program, click.Group):
                assert words.pop(0) == "bench"
                program = program.commands[words.pop(0)]
            context = program.make_context("part", words)
            if one.name == "short" and size is FULL:
                assert context.params["budget_minutes"] == 3.0


def test_outcomes_are_counted_by_file() -> None:
    kinds = {"a.py::one": "passed", "a.py::two[x]": "failed", "b.py::three": "skipped"}
    lines = [{"test": test, "outcome": outcome, "seconds": 0.25} for test, outcome in kinds.items()]
    first, second = outcomes(lines)
    assert (first["file"], first["passed"], first["failed"], first["seconds"]) == ("a.py", 1, 1, 0.5)
    assert first["which"] == "two[x]"
    assert (second["skipped"], second["which"]) == (1, "")
