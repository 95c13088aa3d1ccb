"""The list of pieces of the GPU suite, at full size and at a tiny size for a rehearsal on a CPU."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.gpu.piece import Piece

METHODS = ("supervised", "uda", "mpl", "smpl-recompute", "smpl-shared-graph", "metasemi")
BUDGET_MINUTES = 25
"""Target for the run and its fine-tuning together; the recipe sets the run's own budget."""
RUN, TUNE, CURVE, PEER = "run", "finetune", "curve", "peer"
TUNED = "run-finetuned"
"""The folder of the fine-tuning."""
STEP = "step-"
"""Prefix of the names of all pieces that measure a step."""
OPTIONS: Mapping[str, str] = {RUN: "--data", TUNE: "--data", CURVE: "--data", PEER: "--peer"}
"""The option of the suite without which a piece does not exist, by name of the piece."""


@dataclass(frozen=True)
class Size:
    """The command-line options of all pieces at one size."""

    bench: tuple[str, ...]
    """Options of ``smpl bench step``; at full size WRN-28-2, B = 128, mu = 7."""
    memory: tuple[str, ...]
    augment: tuple[str, ...]
    checkpoint: tuple[str, ...]
    peer: tuple[str, ...]
    modes: Mapping[str, tuple[str, ...]]
    """Options of precision and compilation by name. A compiled mode has a piece for each method: compiling is slow."""
    run: tuple[str, ...]
    tune: tuple[str, ...]
    tests: Mapping[str, tuple[str, ...]]
    """Test files and folders by name of the piece."""
    time_scale: float = 1.0
    """Expected duration relative to the full size."""


FULL = Size(
    bench=("--batch-size", "128", "--mu", "7", "--width", "2"),
    memory=("--batch-size", "128", "--mu", "7", "--precision", "bf16"),
    augment=("--batch-size", "896"),
    checkpoint=(),
    peer=(
        *("--batch-size", "128", "--mu", "7", "--steps", "20", "--workers", "8"),
        *("--precisions", "bf16", "--compiles", "off,max"),
    ),
    modes={
        "fp32": ("--precision", "fp32", "--compile", "off"),
        "bf16": ("--precision", "bf16", "--compile", "off"),
        "auto": ("--precision", "bf16", "--compile", "auto"),
        "max": ("--precision", "bf16", "--compile", "max"),
    },
    run=("--recipe", "cifar10-4k-fast", "--nproc", "1"),
    tune=("--budget-minutes", "1.5", "--nproc", "1"),
    tests={
        "tests-cuda": ("tests/cuda", "tests/pipeline/data/augment/test_tracing.py"),
        "tests-cpu": ("tests/pipeline", "tests/benchmarks", "tests/data_prep", "tests/test_own_method.py"),
    },
)

_TINY = ("--batch-size", "2", "--mu", "1", "--width", "1")
REHEARSAL = Size(
    bench=(*_TINY, "--repeats", "1"),
    memory=(*_TINY, "--methods", "uda"),
    augment=("--batch-size", "8", "--repeats", "1", "--threads", "1"),
    checkpoint=(*_TINY, "--steps", "1", "--repeats", "1"),
    peer=("--batch-size", "2", "--mu", "1", "--steps", "2", "--turns", "1", "--compiles", "off"),
    modes={"fp32": FULL.modes["fp32"], "auto": FULL.modes["auto"]},
    run=(
        *("--recipe", "digits-smpl", "--steps", "4", "--batch-size", "4", "--mu", "2", "--nproc", "1"),
        *("--set", "log_every=2", "--set", "eval_every=2"),
    ),
    tune=("--steps", "2", "--nproc", "1", "--set", "log_every=1", "--set", "eval_every=1"),
    tests={"tests-cuda": ("tests/cuda",), "tests-cpu": ("tests/pipeline/training/test_lr_schedule.py",)},
    time_scale=0.1,
)


def list_pieces(size: Size, folder: Path, data: Path | None, peer: Path | None) -> list[Piece]:
    """Return the pieces, the most important first.

    Args:
        size: the options of each piece.
        folder: the suite's folder of results.
        data: prepared CIFAR-10 with 4,000 labels; without it only a rehearsal trains.
        peer: a checkout of MPL-pytorch; without it there is no piece ``peer``.
    """
    pieces = [_tests(size, "tests-cuda", folder, ("--workers", "1")), *_steps(size, folder)]
    pieces.append(_bench("memory", size.memory, 4, folder))
    if peer:
        pieces.append(_bench(PEER, (str(peer.resolve()), *size.peer), 6, folder))
    pieces += [_bench("augment", size.augment, 3, folder), _bench("checkpoint", size.checkpoint, 2, folder)]
    if data or size is REHEARSAL:
        pieces += _training(size, folder, data)
    pieces.append(_tests(size, "tests-cpu", folder, (), {"CUDA_VISIBLE_DEVICES": ""}))
    return [replace(piece, minutes=round(piece.minutes * size.time_scale, 2)) for piece in pieces]


def _tests(
    size: Size, name: str, folder: Path, options: tuple[str, ...], environment: Mapping[str, str] | None = None
) -> Piece:
    result = f"{name}.json"
    arguments = ("-m", "benchmarks.gpu.tests", *size.tests[name], *options, "--out", str(folder / result))
    return Piece(name, arguments, 8, result, min_minutes=1, environment=environment or {})


def _steps(size: Size, folder: Path) -> Iterator[Piece]:
    for mode, options in size.modes.items():
        if options[-1] == "off":
            yield _bench(f"{STEP}{mode}", (*size.bench, *options, "--methods", ",".join(METHODS)), 3, folder, "step")
        else:
            for method in METHODS:
                yield _bench(f"{STEP}{mode}-{method}", (*size.bench, *options, "--methods", method), 3, folder, "step")


def _bench(name: str, options: tuple[str, ...], minutes: float, folder: Path, command: str | None = None) -> Piece:
    result = f"{name}.json"
    arguments = ("-m", "pipeline.cli", "bench", command or name, *options, "--out", str(folder / result))
    return Piece(name, arguments, minutes, result)


def _training(size: Size, folder: Path, data: Path | None) -> Iterator[Piece]:
    """Yield the run, its fine-tuning and the curve of both."""
    run, tuned = folder / RUN, folder / TUNED
    where = ("--data-dir", str(data.resolve())) if data else ()
    own = {} if data else {"SMPL_DATA": str(folder / "data")}
    train = ("-m", "pipeline.train")
    summary = f"{RUN}/summary.json"
    first = Piece(RUN, (*train, *size.run, *where, "--out", str(run)), 24, summary, 5, (), own)
    arguments = (*train, "--finetune", str(run), *size.tune, *where, "--out", str(tuned))
    second = Piece(TUNE, arguments, 2, f"{TUNED}/summary.json", 2, (first,), own)
    arguments = ("-m", "benchmarks.gpu.curve", str(run), str(tuned), "--out", str(folder / "curve.json"))
    yield from (first, second, Piece(CURVE, arguments, 0.5, "curve.json", requires=(first, second)))
