"""The four parts of the GPU suite: the commands of each, and how the rows of its result are read while it runs."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.tests import outcomes
from pipeline.run_folder import RunFolder

Row = dict[str, Any]
Words = tuple[str, ...]

RECIPE = "cifar10-4k-fast"
"""The recipe of the short run."""
WIDE_RESNET = "cifar10-4k-fast"
"""The recipe of the long run, with WRN-28-2 and another seed."""
SHORT_MINUTES = 3.0
"""The time budget of the short run."""
START_S = 45.0
"""Seconds of a run that its budget does not count: Python and torch start, and its end may be late."""
LEAST_S = 60.0
"""The shortest useful time budget of a run, in seconds."""


@dataclass(frozen=True)
class Size:
    """What the parts run: at full size on a GPU, or at a tiny size that rehearses them on a CPU."""

    tests: Words
    step: Words
    """Options of ``smpl bench step``."""
    methods: Words
    """Cases of ``smpl bench step``; fixmatch is not one, because it makes the passes of uda."""
    compiles: Words
    short: Words
    long: Words
    length: Callable[[float], Words]
    """Returns the options that let a run take a number of seconds."""
    slack: float
    """Factor of the parts' time limits; a rehearsal may take long on a busy machine."""


FULL = Size(
    tests=("tests/cuda", "--numprocesses=8"),
    step=("--batch-size", "128", "--mu", "7", "--width", "2", "--precision", "bf16"),
    methods=("uda", "mpl", "smpl-shared-graph"),
    compiles=("auto", "max"),
    short=("--recipe", RECIPE),
    long=("--recipe", WIDE_RESNET, "--seed", "1"),
    length=lambda seconds: ("--budget-minutes", f"{seconds / 60:.2f}"),
    slack=1.0,
)
_TINY = ("--recipe", "digits-smpl", "--batch-size", "4", "--mu", "2", "--set", "log_every=2", "--set", "eval_every=2")
REHEARSAL = Size(
    tests=("tests/cuda/test_views.py", "--numprocesses=1"),
    step=("--batch-size", "2", "--mu", "1", "--width", "1", "--repeats", "1"),
    methods=("uda",),
    compiles=("off", "auto"),
    short=_TINY,
    long=(*_TINY, "--seed", "1"),
    length=lambda _: ("--steps", "4"),
    slack=float("inf"),
)


@dataclass(frozen=True)
class Part:
    """Some commands that run one after another."""

    name: str
    seconds: float
    """The longest time that it may take."""
    least: float
    """The shortest time, in seconds, that is worth a start."""
    commands: Callable[[Path, float], Iterator[Words]]
    """Returns the arguments of Python for each command, given the part's folder and the seconds that it has."""
    rows: Callable[[Path, float], list[Row]]
    """Returns what is known so far, given the folder and when the part began, by :func:`time.time`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    data: Path | None = None
    """The prepared set that it needs."""


def list_parts(size: Size, data: Path) -> list[Part]:
    """Return the parts in order. A rehearsal trains on the embedded digits and needs no prepared set."""
    compile_alone = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}  # the processes that test fill the CPUs
    given, least = data if size is FULL else None, START_S + LEAST_S
    short, long = (partial(_run, words, size.length, given) for words in (size.short, size.long))
    return [
        Part("tests", 120 * size.slack, 20, partial(_tests, size), _test_rows, compile_alone),
        Part("steps", 150 * size.slack, 20, partial(_steps, size), _step_rows),
        Part("short", (60 * SHORT_MINUTES + START_S) * size.slack, least, short, _run_rows, data=given),
        Part("long", float("inf"), least + LEAST_S, long, _run_rows, data=given),
    ]


def _tests(size: Size, folder: Path, _: float) -> Iterator[Words]:
    yield ("-m", "benchmarks.gpu.tests", str(folder / "outcomes.jsonl"), *size.tests)


def _test_rows(folder: Path, _: float) -> list[Row]:
    return outcomes(_lines(folder / "outcomes.jsonl"))


def _steps(size: Size, folder: Path, _: float) -> Iterator[Words]:
    """Yield a command for each case: CUDA graphs keep memory, which another case in the process would be charged."""
    words = ("-m", "pipeline.cli", "bench", "step", *size.step)
    cases = [(method, compiled) for method in size.methods for compiled in size.compiles]
    for number, (method, compiled) in enumerate(cases):
        yield (*words, "--methods", method, "--compile", compiled, "--out", str(folder / f"case-{number}.json"))


def _step_rows(folder: Path, _: float) -> list[Row]:
    return [row for path in sorted(folder.glob("case-*.json")) for row in json.loads(path.read_text())["rows"]]


def _run(
    words: Words, length: Callable[[float], Words], data: Path | None, folder: Path, seconds: float
) -> Iterator[Words]:
    where = ("--data-dir", str(data)) if data else ()
    out = ("--nproc", "1", "--out", str(folder / "run"))
    yield ("-m", "pipeline.train", *words, *length(seconds - START_S), *where, *out)


def _run_rows(folder: Path, began: float) -> list[Row]:
    """Return a row for each evaluation, with minutes since the part began, and one for the end, with the test split."""
    run = RunFolder(folder / "run")
    lines = _lines(run.metrics_file)
    rows = [
        {"step": line["step"], "minutes": _minutes(line["time"] - began), "val": round(line["accuracy"], 2)}
        for line in lines
        if line["group"] == "val/ema"
    ]
    if run.summary_file.exists():
        summary, ended = run.summary(), run.summary_file.stat().st_mtime
        end = {"step": summary.steps, "minutes": _minutes(ended - began), "test": round(summary.test_accuracy, 2)}
        speed = next((line for line in reversed(lines) if line["group"] == "train"), {})
        rows.append(end | {key: speed[key] for key in ("images_per_s", "data_wait") if key in speed})
    return rows


def _lines(path: Path) -> list[Row]:
    """Return the complete lines of a file of JSON lines that another process may be writing."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]


def _minutes(seconds: float) -> float:
    return round(seconds / 60, 3)
