"""The GPU suite's logic: finished pieces stay done, stopped ones resume, and others run after a failure."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks import cli as bench
from benchmarks.gpu import command, curve, runner
from benchmarks.gpu import tests as gpu_tests
from benchmarks.gpu.command import code_version, main, seconds_since_start, select_pieces
from benchmarks.gpu.piece import Piece
from benchmarks.gpu.pieces import FULL, REHEARSAL, Size, list_pieces
from benchmarks.gpu.runner import ROOT, CallSummary, run_pieces
from benchmarks.gpu.targets import write_tables
from benchmarks.step import CASES, bench_config
from benchmarks.step import measure as measure_step
from pipeline import train
from pipeline.training import compilation, trainer
from pipeline.training.compilation import Compiler, choose_compiler
from tests.limits import LIMIT_S, wait_for
from tests.pipeline.conftest import ALONE

NOTE = "import pathlib, sys; pathlib.Path('{file}').open('a').write('begun ')"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runner, "GRACE_S", 1.0)
    return tmp_path / "suite"


def piece(folder: Path, name: str, code: str = "", minutes: float = 0.01, **options: Any) -> Piece:
    """Return a piece that records each start, runs ``code`` and writes its result."""
    begun, result = folder.parent / f"{name}.begun", folder / f"{name}.json"
    lines = [NOTE.format(file=begun), code, f"pathlib.Path('{result}').write_text('{{}}')"]
    return Piece(name, ("-c", "\n".join(lines)), minutes, f"{name}.json", **options)


def times_started(folder: Path, name: str) -> int:
    """Return how often a piece was started."""
    path = folder.parent / f"{name}.begun"
    return path.read_text().count("begun") if path.exists() else 0


def count_limits_from(sign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the limit of a process count from when it has written ``sign``, however long it takes to start."""
    wait = subprocess.Popen.wait

    def patient(process: "subprocess.Popen[bytes]", timeout: float | None = None) -> int:
        wait_for(lambda: process.poll() is not None or sign.exists())
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", patient)


def call(pieces: list[Piece], folder: Path, minutes: float = 1.0) -> tuple[CallSummary, str]:
    reported: list[str] = []
    return run_pieces(pieces, folder, minutes, reported.append), "\n".join(reported)


def test_what_is_done_is_not_done_again(folder: Path) -> None:
    pieces = [piece(folder, "one"), piece(folder, "two")]
    first, _ = call(pieces[:1], folder)
    second, _ = call(pieces, folder)
    assert (first.done, second.before, second.done) == (["one"], ["one"], ["two"])
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert times_started(folder, "one") == times_started(folder, "two") == 1


@pytest.mark.slow
def test_a_piece_that_is_killed_at_the_limit_starts_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count_limits_from(folder.parent / "slow.begun", monkeypatch)
    flag = folder.parent / "quick"
    slow = piece(folder, "slow", f"import time\ntime.sleep(0 if pathlib.Path('{flag}').exists() else {LIMIT_S})")
    summary, reported = call([slow], folder, minutes=3 / 60)
    assert (summary.left, summary.exit_code) == (["slow"], 4)
    assert "the next call starts it again" in reported
    flag.touch()
    summary, _ = call([slow], folder)
    assert (summary.done, summary.exit_code) == (["slow"], 0)
    assert times_started(folder, "slow") == 2


@pytest.mark.slow
def test_a_piece_is_asked_to_stop_before_it_is_made_to_and_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, ready = folder.parent / "saved", folder.parent / "ready"
    count_limits_from(ready, monkeypatch)
    monkeypatch.setattr(runner, "GRACE_S", LIMIT_S)
    code = f"""
import signal, time
saved = pathlib.Path('{saved}')
def stop(*_):
    saved.touch()
    sys.exit(4)
signal.signal(signal.SIGTERM, stop)
pathlib.Path('{ready}').touch()
if not saved.exists():
    time.sleep({LIMIT_S})"""
    run = piece(folder, "run", code, minutes=30.0, min_minutes=0.01)
    summary, reported = call([run], folder, minutes=(LIMIT_S + 2) / 60)
    assert (summary.left, summary.exit_code) == (["run"], 4)
    assert "the next call resumes it" in reported
    assert call([run], folder, minutes=LIMIT_S)[0].done == ["run"]


def test_a_piece_that_fails_is_shown_and_tried_again_after_the_others(folder: Path) -> None:
    flag = folder.parent / "repaired"
    bad = piece(folder, "bad", f"if not pathlib.Path('{flag}').exists(): raise SystemExit('no such kernel')")
    waits = piece(folder, "waits", requires=(bad,))
    summary, reported = call([bad, waits, piece(folder, "good")], folder)
    assert (summary.failed, summary.left, summary.done, summary.exit_code) == (["bad"], ["waits"], ["good"], 1)
    assert "exit code 1" in reported
    assert "    no such kernel" in reported
    assert "waits: left, because it needs the result of bad" in reported
    flag.touch()
    order = [bad, piece(folder, "new")]
    summary, reported = call(order, folder)
    assert summary.done == ["new", "bad"]
    assert not bad.failed(folder)
    row = next(row for row in json.loads((folder / "pieces.json").read_text())["rows"] if row["piece"] == "bad")
    assert (row["ending"], row["calls"]) == ("done", 2)


def test_a_piece_that_ends_well_without_its_result_has_failed(folder: Path) -> None:
    empty = Piece("empty", ("-c", "pass"), 0.01, "empty.json")
    assert call([empty], folder)[0].failed == ["empty"]


def test_no_piece_is_started_that_would_not_end_in_time(folder: Path) -> None:
    pieces = [
        piece(folder, "long", minutes=5),
        piece(folder, "short"),
        piece(folder, "whole", minutes=9, min_minutes=0.5),
    ]
    summary, reported = call(pieces, folder, minutes=1)
    assert (summary.left, summary.done, summary.exit_code) == (["long"], ["short", "whole"], 4)
    assert "long: left, because it needs --minutes 5" in reported
    assert times_started(folder, "long") == 0


def test_elapsed_seconds_count_against_the_minutes(folder: Path) -> None:
    pieces = [piece(folder, "long", minutes=2), piece(folder, "short")]
    reported: list[str] = []
    summary = run_pieces(pieces, folder, 3, reported.append, elapsed=90)
    assert (summary.left, summary.done) == (["long"], ["short"])
    assert "long: left, because it needs 2 minutes and 1.5 remain" in reported


@pytest.mark.slow
def test_minutes_count_from_the_start_of_the_process() -> None:
    words = "import time; time.sleep(0.5); from benchmarks.gpu import command; print(command.seconds_since_start())"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0.5 <= float(done.stdout) <= time.monotonic() - started + 0.1
    assert seconds_since_start() > 0


def test_a_piece_waits_for_a_required_one_that_is_not_selected(folder: Path) -> None:
    first = piece(folder, "run")
    second = piece(folder, "finetune", requires=(first,))
    summary, reported = call(select_pieces([first, second], "finetune"), folder)
    assert (summary.left, summary.failed, summary.exit_code) == (["finetune"], [], 4)
    assert "finetune: left, because it needs the result of run" in reported
    call([first], folder)
    assert call([second], folder)[0].done == ["finetune"]


def history_row(folder: Path) -> dict[str, Any]:
    """Return the row of the only piece in ``pieces.json``."""
    (row,) = json.loads((folder / "pieces.json").read_text())["rows"]
    return row


@pytest.mark.parametrize(("lived", "counted"), [(120, 2.0), (-5, 0.0), (3600, 9.0)])
def test_the_minutes_of_a_killed_call_count_until_its_log_last_changed(
    folder: Path, lived: float, counted: float
) -> None:
    one, begun = piece(folder, "one"), time.time() - 7200
    row = {"piece": "one", "ending": "running", "minutes": 1.5, "calls": 2, "begun": begun, "limit": 9.0}
    (folder / "logs").mkdir(parents=True)
    (folder / "pieces.json").write_text(json.dumps({"rows": [row]}))
    one.log(folder).touch()
    os.utime(one.log(folder), (begun + lived, begun + lived))
    call([], folder)
    assert history_row(folder) == {"piece": "one", "ending": "killed", "minutes": 1.5 + counted, "calls": 2}
    call([one], folder)
    row = history_row(folder)
    assert (row["ending"], row["calls"]) == ("done", 3)
    assert 1.5 + counted <= row["minutes"] < 1.5 + counted + 0.5


def start_call(parent: Piece, folder: Path, sign: Path) -> "tuple[subprocess.Popen[bytes], int]":
    """Start a call that runs a piece; return it and the process id that the piece writes to ``sign``."""
    words = f"""
from pathlib import Path
from benchmarks.gpu import runner
from benchmarks.gpu.piece import Piece
from data_prep.system.cli import exit_code
piece = Piece('parent', {parent.arguments!r}, 0.01, 'parent.json')
raise SystemExit(exit_code(lambda: runner.run_pieces([piece], Path({str(folder)!r}), 5, print).exit_code))"""
    process = subprocess.Popen([sys.executable, "-c", words], cwd=ROOT)
    wait_for(lambda: text_of(sign), process)
    return process, int(sign.read_text())


def text_of(path: Path) -> str:
    """Return the text of a file; an empty string while it does not exist."""
    with suppress(OSError):
        return path.read_text()
    return ""


def ended(pid: int) -> bool:
    state = text_of(Path(f"/proc/{pid}/stat"))
    return not state or state.rsplit(")", 1)[1].split()[0] == "Z"


def test_a_stopped_call_leaves_no_process_behind(folder: Path) -> None:
    pid = folder.parent / "pid"
    code = f"import subprocess\nchild = subprocess.Popen(['sleep', '{LIMIT_S}'])\n"
    code += f"pathlib.Path('{pid}').write_text(str(child.pid))\nchild.wait()"
    process, child = start_call(piece(folder, "parent", code), folder, pid)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 4
    wait_for(lambda: ended(child))
    assert history_row(folder)["ending"] == "stopped"


def test_a_killed_call_takes_its_piece_with_it_and_has_recorded_its_start(folder: Path) -> None:
    pid = folder.parent / "pid"
    code = f"import os, time\npathlib.Path('{pid}').write_text(str(os.getpid()))\ntime.sleep({LIMIT_S})"
    process, child = start_call(piece(folder, "parent", code), folder, pid)
    process.kill()
    process.communicate(timeout=LIMIT_S)
    wait_for(lambda: ended(child))
    assert (history_row(folder)["ending"], history_row(folder)["calls"]) == ("running", 1)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_without_a_gpu_only_a_rehearsal_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = ["--out", str(tmp_path)]
    refused = run(*out)
    assert refused.exit_code == 2
    assert "--rehearse" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    listed = run(*out, "--list", "--only", "step-*,memory")
    assert listed.exit_code == 0
    assert {line.split()[1] for line in listed.stdout.splitlines()} == {"left"}
    unknown = run(*out, "--only", "memry")
    assert unknown.exit_code == 2
    assert "did you mean 'memory'" in unknown.stderr
    for name, option in {"run": "--data", "peer": "--peer"}.items():
        assert f"--only: {name} needs {option}" in run(*out, "--only", f"memory,{name}").stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["pipeline/recipes/own.yaml", "pipeline/a.py", "setup.cfg", "pyproject.toml"])
def test_other_sources_recipes_and_settings_are_another_version(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "commit", lambda: "0123+")
    (tmp_path / "pipeline" / "recipes").mkdir(parents=True)
    names = set()
    for text in ("one", "two", "one"):
        for file in {"setup.cfg", "pyproject.toml", name}:
            (tmp_path / file).write_text(text if file == name else "same")
        names.add(code_version())
    assert len(names) == 2


@pytest.mark.slow
def test_a_rehearsal_measures_and_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "seconds_since_start", lambda: 0.0)
    done = run("--out", str(tmp_path), "--rehearse", "--only", "step-auto-uda", "--minutes", "5")
    assert done.exit_code == 0, done.output
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"rehearsal-{code_version()}"
    assert [row["method"] for row in json.loads((folder / "steps.json").read_text())["rows"]] == ["uda"]
    rows = json.loads((folder / "targets.json").read_text())["rows"]
    assert {row["met"] for row in rows} == {"not measured"}, "a step that is not compiled says nothing"


@pytest.mark.slow
def test_a_curve_goes_on_from_the_run_to_its_fine_tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMPL_DATA", str(tmp_path / "data"))
    runs = tmp_path / "run", tmp_path / "run-finetuned"
    for words in ([*REHEARSAL.run, "--out", str(runs[0])], ["--finetune", str(runs[0]), *REHEARSAL.tune]):
        assert CliRunner().invoke(train.main, words).exit_code == 0
    words = [*map(str, runs), "--out", str(tmp_path / "curve.json")]
    assert CliRunner().invoke(curve.main, words).exit_code == 0
    rows = json.loads((tmp_path / "curve.json").read_text())["rows"]
    assert [(row["run"], row["step"]) for row in rows if "val" in row] == [
        *(("run", step) for step in (2, 4)),
        *(("run-finetuned", step) for step in (1, 2)),
    ]
    assert [(row["run"], row["step"]) for row in rows if "test" in row] == [("run", 4), ("run-finetuned", 2)]
    assert [row["minutes"] for row in rows] == sorted(row["minutes"] for row in rows)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    missing = CliRunner().invoke(curve.main, [str(tmp_path / "none"), "--out", str(tmp_path / "none.json")])
    assert missing.exit_code == 3


def test_minutes_are_those_that_the_log_tells_and_a_step_done_twice_counts_once() -> None:
    def line(step: int, rate: float) -> dict[str, Any]:
        return {"step": step, "group": "train", "images_per_s": rate}

    lines = [line(10, 1.0), line(20, 5.0), {"step": 20, "group": "val/ema", "accuracy": 1}, line(20, 2.0)]
    assert dict(curve.minutes_of(lines, 6)) == {10: 1.0, 20: 1.5}


def words_of(size: Size, tmp_path: Path) -> Iterator[tuple[click.Command, list[str]]]:
    """Yield each piece's command and its arguments."""
    modules = {"pipeline.train": train, "benchmarks.gpu.tests": gpu_tests, "benchmarks.gpu.curve": curve}
    for one in list_pieces(size, tmp_path, tmp_path, tmp_path):
        flag, module, *words = one.arguments
        assert flag == "-m"
        if module == "pipeline.cli":
            assert words[0] == "bench"
            yield bench.main.commands[words[1]], words[2:]
        else:
            yield modules[module].main, words


@pytest.mark.parametrize("size", [FULL, REHEARSAL], ids=["full", "rehearsal"])
def test_every_piece_is_a_command_with_options_that_it_takes(size: Size, tmp_path: Path) -> None:
    for program, words in words_of(size, tmp_path):
        program.make_context("piece", words)


@pytest.mark.slow
def test_test_files_that_passed_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_tests, "ROOT", tmp_path)
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_good.py").write_text("from pathlib import Path\ndef test(): Path('ran').open('a').write('x')\n")
    (tests / "test_bad.py").write_text("import pytest\ndef test_one(): assert 0\ndef test_two(): pytest.skip()\n")
    words = ["tests", "--workers", "2", "--out", str(tmp_path / "outcomes.json")]
    first = CliRunner().invoke(gpu_tests.main, words)
    assert first.exit_code == 1
    assert "FAIL tests/test_bad.py: 1 failed, 1 skipped" in first.stdout
    assert "1 of 2 test files failed: tests/test_bad.py" in first.stderr
    assert not (tmp_path / "outcomes.json").exists()
    (tests / "test_bad.py").write_text("import pytest\npytest.importorskip('no_such_library')\n")
    second = CliRunner().invoke(gpu_tests.main, words)
    assert second.exit_code == 0, second.output
    rows = json.loads((tmp_path / "outcomes.json").read_text())["rows"]
    assert [(row["file"], row["passed"], row["skipped"]) for row in rows] == [
        ("tests/test_bad.py", 0, 1),
        ("tests/test_good.py", 1, 0),
    ]
    assert (tmp_path / "ran").read_text() == "x"


@pytest.mark.slow
def test_a_test_file_that_is_left_in_mid_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_tests, "ROOT", tmp_path)
    (tmp_path / "test_slow.py").write_text(
        f"import os, time, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep({LIMIT_S})\n"
    )
    (tmp_path / "test_quick.py").write_text(
        "from pathlib import Path\npid = Path('pid')\n"
        "def test():\n    while not (pid.exists() and pid.read_text()):\n        pass\n"
    )
    with closing(gpu_tests.run_files(["test_slow.py", "test_quick.py"], 2, tmp_path)) as rows:
        assert next(rows)["file"] == "test_quick.py"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def gpu_row(compiled: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the row of a tiny step, whose compiler has the name that it has on a GPU and does nothing."""
    with monkeypatch.context() as patch:
        patch.setattr(compilation, "missing_here", lambda _: "")
        patch.setattr(Compiler, "network", lambda _, module: module)
        patch.setattr(Compiler, "graphs", False)
        named = choose_compiler(compiled, torch.device("cuda"), 1)
        patch.setattr(trainer, "choose_compiler", lambda *_: named)
        settings, needs = CASES["supervised"]
        return measure_step(bench_config(settings, 2, 1, 1, "bf16"), needs(2, 2), ALONE, 1)


def test_targets_are_judged_by_the_worst_method_in_its_fastest_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {compiled: gpu_row(compiled, monkeypatch) for compiled in ("off", "auto", "max")}

    def save(name: str, rows: list[dict[str, Any]]) -> None:
        (tmp_path / f"{name}.json").write_text(json.dumps({"rows": rows}))

    def step(method: str, compiled: str, step_ms: float, bare_ms: float, data_wait: float) -> dict[str, Any]:
        times = {"step_ms": step_ms, "bare_ms": bare_ms, "data_wait": data_wait}
        return measured[compiled] | {"method": method, **times}

    save("step-bf16", [step("uda", "off", 30, 1, 0.5)])
    save("step-auto-uda", [step("uda", "auto", 20, 5, 0.4)])
    save("step-max-uda", [step("uda", "max", 10, 9, 0.001)])
    save("step-max-mpl", [step("mpl", "max", 10, 7, 0.004)])
    save("peer", [{"loop": "MPL-pytorch", "speed": 1}, {"loop": "mpl, bf16, compile max", "speed": 11.0}])
    ends = [{"run": "run", "minutes": 20, "test": 95}, {"run": "run-finetuned", "minutes": 21, "test": 94.5}]
    save("curve", ends)
    save("pieces", [{"piece": "run", "minutes": 23.0}, {"piece": "finetune", "minutes": 2.5}])
    write_tables(tmp_path)
    rows = json.loads((tmp_path / "targets.json").read_text())["rows"]
    assert [(row["measured"], row["met"]) for row in rows] == [(0.004, "yes"), (11, "yes"), (0.7, "yes"), (94.5, "no")]
    assert len(json.loads((tmp_path / "steps.json").read_text())["rows"]) == 4
    save("pieces", [{"piece": "run", "minutes": 22.0}, {"piece": "finetune", "minutes": 2.5}])
    assert write_tables(tmp_path).count("| yes |") == 4
