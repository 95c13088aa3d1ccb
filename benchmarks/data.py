"""``smpl bench data``: images per second of our loaders and of other libraries' on the same prepared set.

===========================  ================================================  =====================================
work                         views, uint8                                      set, unless ``--data-dir`` names one
===========================  ================================================  =====================================
small, weak                  mirror, crop: [256, 3, 32, 32]                    PNGs of 32x32
small, weak and strong       the same, and once more with RandAugment          the same
large, one crop              random resized crop: [64, 3, 224, 224]            JPEGs of about 500x375, 46 kB each
large, two crops             two crops of one decoded image                    the same
small or large, training     steps of UDA with a small network                 the same
===========================  ================================================  =====================================

``--workers`` sets the number of our threads, of DALI's threads and of DataLoader processes. PyTorch's operators in this
process (views of the resident loader, networks) get what a training process has: one thread per CPU, or
``OMP_NUM_THREADS``, which is the better choice on a shared machine. The contenders take turns. In each turn a loader is
opened again and measured after some warm-up batches. A second view does not count as another image. The files are in
the page cache, so no disk is measured.
"""

import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.loaders import OTHER_LOADERS, REQUIRED_MODULES, our_loader, stream_options
from benchmarks.record import report_rows
from benchmarks.resource_usage import cpu_seconds
from benchmarks.workload import Contender, Workload, load_workload, make_prepared_set
from data_prep.system.cli import Command
from data_prep.system.workers import available_cpus
from pipeline.config.resolve import resolve
from pipeline.data.loader_choice import RESIDENT
from pipeline.data.training_splits import load_training_data
from pipeline.distributed.world import World, join_world
from pipeline.training.throughput import Clock
from pipeline.training.trainer import Trainer

STREAMING = ("webdataset", "dali")
WARMUP_BATCHES, WARMUP_STEPS = 6, 2
"""Batches and training steps before the measured ones."""
OURS = "smpl "
"""Prefix of the names of our contenders."""


@dataclass(frozen=True)
class Kind:
    """The contenders and works for small or for large images."""

    engines: tuple[str, ...]
    """Names of our loaders."""
    others: tuple[str, ...]
    """Names of the loaders of other libraries."""
    works: tuple[str, str]
    """Names of the work with one view and of the work with two."""
    network: dict[str, Any]
    """Configuration of the small network for the work ``training``."""


KINDS: Mapping[str, Kind] = {
    "small": Kind(
        (RESIDENT, *STREAMING),
        ("torchvision + Pillow",),
        ("weak", "weak and strong"),
        {"name": "wide_resnet", "depth": 10, "width": 1},
    ),
    "large": Kind(
        STREAMING,
        tuple(OTHER_LOADERS),
        ("one crop", "two crops"),
        {"name": "torchvision", "architecture": "mobilenet_v3_small"},
    ),
}


@dataclass(frozen=True)
class Turn:
    """The measurement of one contender in one turn."""

    images: int
    seconds: float
    cpu_seconds: float
    """Processor time of this process and its descendants."""
    wait: float | None = None
    """Fraction of the time that training waited for batches; None without training."""


Contest = Mapping[str, Callable[[float], Turn]]
"""The contenders of a work by name; each is a function that measures for at least the given number of seconds."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--data-dir", type=click.Path(path_type=Path), help="A prepared set, in place of generated ones.")
@click.option("--images", default=2000, type=click.IntRange(80), help="Images to generate, or to copy out of DATA_DIR.")
@click.option("--batch-size", type=click.IntRange(8), help="Images per batch.  [default: 256 small or 64 large ones]")
@click.option("--workers", type=click.IntRange(1), help="Threads or processes per loader.  [default: the CPUs]")
@click.option("--repeats", default=5, type=click.IntRange(1), help="Turns; in each, every contender is measured once.")
@click.option("--seconds", default=4.0, type=click.FloatRange(0, min_open=True), help="Least time of a measurement.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write rows, machine, commit and command there.")
def main(
    data_dir: Path | None,
    images: int,
    batch_size: int | None,
    workers: int | None,
    repeats: int,
    seconds: float,
    as_json: bool,
    out: Path | None,
) -> None:
    """Measure our loaders and other libraries' on the same images, in turns.

    Rows give medians over the turns, and the ratio to the fastest loader of another library.
    """
    workers, world = workers or available_cpus(), join_world()

    def rows(folder: Path) -> Iterator[dict[str, Any]]:
        for number, prepared in enumerate(_sets(folder, data_dir, images, workers)):
            workload = load_workload(prepared, folder / f"files-{number}", images, batch_size, workers, world.device)
            for work, contest in contests(workload, world).items():
                yield from ({"work": work} | row for row in measure(contest, repeats, seconds))

    with tempfile.TemporaryDirectory() as folder:
        report_rows(rows(Path(folder)), _line, as_json=as_json, out=out)


def contests(workload: Workload, world: World) -> dict[str, Contest]:
    """Return the works for the images of the set, each with its contenders."""
    name = "small" if workload.side is None else "large"
    kind = KINDS[name]
    loaders = {OURS + engine: our_loader(engine) for engine in kind.engines} | {
        other: OTHER_LOADERS[other] for other in kind.others
    }
    works: dict[str, Contest] = {}
    for two, views in enumerate(kind.works):
        work = replace(workload, two=bool(two))
        works[f"{name}, {views}"] = {who: partial(measure_drawing, loader, work) for who, loader in loaders.items()}
    trainings = {
        OURS + engine: partial(measure_training, engine, kind.network, workload, world) for engine in kind.engines
    }
    return works | {f"{name}, training": trainings}


def measure_drawing(contender: Contender, work: Workload, seconds: float) -> Turn:
    """Measure a loader alone, after some warm-up batches."""
    with closing(contender(work)) as batches:
        for _ in islice(batches, WARMUP_BATCHES):
            pass
        images, cpu, started = 0, cpu_seconds(os.getpid()), time.perf_counter()
        while not images or time.perf_counter() - started < seconds:
            images += len(next(batches)[0])
        if work.device.type == "cuda":
            torch.cuda.synchronize()
        return Turn(images, time.perf_counter() - started, cpu_seconds(os.getpid()) - cpu)


def measure_training(engine: str, network: dict[str, Any], work: Workload, world: World, seconds: float) -> Turn:
    """Measure training steps with our loader; an eighth of a batch is labeled.

    The images of a step are those that enter the method's losses.
    """
    settings = {"dataset": work.manifest.dataset, "method": "uda", "model": network, "precision": "fp32"}
    config = resolve(settings, {"batch_size": work.batch_size // 8, "mu": 7, "steps": 1_000_000})
    stream = None if engine == RESIDENT else stream_options(engine, work)
    data = load_training_data(work.folder, work.manifest, world, unlabeled=True, stream=stream)
    with tempfile.TemporaryDirectory() as folder:
        trainer, clock = Trainer(config, data, world, Path(folder)), Clock(world.device.type)
        with closing(trainer.loader):
            for _ in range(WARMUP_STEPS):
                trainer.train_step(clock)
            cpu = cpu_seconds(os.getpid())
            clock.restart()
            while not clock.steps or time.perf_counter() - clock.started < seconds:
                trainer.train_step(clock)
            images = clock.steps * trainer.images_per_step
            read = clock.read(trainer.images_per_step)
            return Turn(images, images / read["images_per_s"], cpu_seconds(os.getpid()) - cpu, read["data_wait"])


def measure(contest: Contest, repeats: int, seconds: float) -> list[dict[str, Any]]:
    """Return a row for each contender; a library that is not installed gets a row with the key ``missing``."""
    missing = {name: reason for name in contest if (reason := _missing(name))}
    turns: dict[str, list[Turn]] = {name: [] for name in contest if name not in missing}
    for repeat in range(repeats):
        for name in sorted(turns, reverse=repeat % 2 == 0):  # the first one finds other caches
            turns[name].append(contest[name](seconds))
    rates = {name: [turn.images / turn.seconds for turn in measured] for name, measured in turns.items()}
    others = [rate for name, rate in rates.items() if not name.startswith(OURS)]
    best = max(others, key=statistics.median, default=None)
    rows = {name: _row(measured, rates[name], best) for name, measured in turns.items()}
    return [{"contender": name} | rows.get(name, {"missing": missing.get(name)}) for name in contest]


def _missing(name: str) -> str | None:
    """Return which module of a contender is not installed; None if it can run."""
    module = REQUIRED_MODULES.get(name)
    try:
        importlib.import_module(module or "torch")
    except ImportError:
        return f"not installed: {module}"
    return None


def _row(turns: list[Turn], rates: list[float], best: list[float] | None) -> dict[str, Any]:
    """Return medians over the turns; ``to_best`` is the speed over that of the best other loader."""
    images = sum(turn.images for turn in turns)
    row: dict[str, Any] = {
        "images": images,
        "seconds": round(sum(turn.seconds for turn in turns), 3),
        "images_per_s": round(statistics.median(rates), 1),
        "spread": [round(min(rates), 1), round(max(rates), 1)],
        "cpu_ms_per_image": round(1000 * sum(turn.cpu_seconds for turn in turns) / images, 4),
        "torch_threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
    }
    waits = [turn.wait for turn in turns if turn.wait is not None]
    if best is not None:
        ratios = [rate / other for rate, other in zip(rates, best, strict=True)]
        row["to_best"] = round(statistics.median(ratios), 3)
    return row | ({"data_wait": round(statistics.median(waits), 4)} if waits else {})


def _sets(folder: Path, given: Path | None, images: int, workers: int) -> Iterator[Path]:
    """Yield the folder of the given set, or those of a small and a large generated set."""
    if given is not None:
        yield given
        return
    for name in KINDS:
        yield make_prepared_set(folder / name, images, workers, small=name == "small")


def _line(row: dict[str, Any]) -> str:
    start = f"{row['work']:<23} {row['contender']:<25}"
    if "missing" in row:
        return f"{start} {row['missing']}"
    low, high = row["spread"]
    speed = f"{row['images_per_s']:>9,.0f} images/s ({low:,.0f} to {high:,.0f})"
    ratio = f"   {row['to_best']:.2f} of the best other" if "to_best" in row else ""
    wait = f"   waits for data {row['data_wait']:.1%}" if "data_wait" in row else ""
    return f"{start} {speed}   CPU {row['cpu_ms_per_image']:.3f} ms{ratio}{wait}"
