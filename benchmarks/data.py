"""``smpl bench data``: images a second of every loader on the same prepared set, ours and what others make of it.

===========================  ================================================  =====================================
work                         views, uint8                                      set, unless ``--data-dir`` names one
===========================  ================================================  =====================================
small, weak                  mirror, crop: [256, 3, 32, 32]                    PNGs of 32x32
small, weak and strong       that, and it with two rounds of RandAugment       the same
large, one crop              random resized crop: [64, 3, 224, 224]            JPEGs of about 500x375, 46 kB each
large, two crops             two of one decoded image                          the same
small or large, training     steps of UDA with a small network                 the same
===========================  ================================================  =====================================

Our threads, the threads of DALI and the processes of DataLoaders are as many: ``--workers``. PyTorch's operators in
this process, those of resident views and of networks, have what a training process has: a thread for each CPU, or
``OMP_NUM_THREADS``, which is the better choice where others work on the machine. Contenders take turns. Each turn opens
the loader anew, lets it come to its pace and measures from there; a second view does not count as another image. The
files lie in the page cache: no disk is measured.
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

from benchmarks.loaded import Contender, Loaded, load, make_set
from benchmarks.loaders import NEEDS, OTHERS, ours, stream_options
from benchmarks.processes import cpu_seconds
from benchmarks.record import tell_rows
from data_prep.system.cli import Command
from data_prep.system.workers import available_cpus
from pipeline.config.resolve import resolve
from pipeline.data.loader_choice import RESIDENT
from pipeline.data.training_splits import load_training_data
from pipeline.distributed.world import World, join_world
from pipeline.training.throughput import Clock
from pipeline.training.trainer import Trainer

STREAMING = ("webdataset", "dali")
WARM, WARM_STEPS = 6, 2
"""Batches and training steps before the measured ones."""
MU = 7
OURS = "smpl "
"""What the names of our contenders begin with."""


@dataclass(frozen=True)
class Kind:
    """What is done with small or with large images."""

    engines: tuple[str, ...]
    others: tuple[str, ...]
    works: tuple[str, str]
    """With one view and with two."""
    network: dict[str, Any]
    """That is trained, a small one."""


KINDS: Mapping[str, Kind] = {
    "small": Kind(
        (RESIDENT, *STREAMING),
        ("torchvision + Pillow",),
        ("weak", "weak and strong"),
        {"name": "wide_resnet", "depth": 10, "width": 1},
    ),
    "large": Kind(
        STREAMING,
        tuple(OTHERS),
        ("one crop", "two crops"),
        {"name": "torchvision", "architecture": "mobilenet_v3_small"},
    ),
}


@dataclass(frozen=True)
class Turn:
    """What one contender did in one turn."""

    images: int
    seconds: float
    cpu_seconds: float
    wait: float | None = None
    """Share of the time that training waited for batches."""


Contest = Mapping[str, Callable[[float], Turn]]
"""The contenders of a work by name; each measures itself for at least so many seconds."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--data-dir", type=click.Path(path_type=Path), help="A prepared set, in place of those made here.")
@click.option("--images", default=2000, type=click.IntRange(80), help="Of the sets made; of a given one, as files.")
@click.option("--batch-size", type=click.IntRange(8), help="Images; 256 small or 64 large ones if left out.")
@click.option("--workers", type=click.IntRange(1), help="Threads or processes; as many as CPUs if left out.")
@click.option("--repeats", default=5, type=click.IntRange(1), help="Turns, in which all contenders are measured once.")
@click.option("--seconds", default=4.0, type=click.FloatRange(0, min_open=True), help="Of one measurement, at least.")
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
    """Measure each loader beside others' on the same images, in turns; medians, and the ratio to the best of others."""
    workers, world = workers or available_cpus(), join_world()

    def rows(folder: Path) -> Iterator[dict[str, Any]]:
        for number, prepared in enumerate(_sets(folder, data_dir, images, workers)):
            loaded = load(prepared, folder / f"files-{number}", images, batch_size, workers, world.device)
            for work, contest in contests(loaded, world).items():
                yield from ({"work": work} | row for row in measure(contest, repeats, seconds))

    with tempfile.TemporaryDirectory() as folder:
        tell_rows(rows(Path(folder)), _line, as_json=as_json, out=out)


def contests(loaded: Loaded, world: World) -> dict[str, Contest]:
    """Return the works that suit the set, and who does each."""
    name = "small" if loaded.side is None else "large"
    kind = KINDS[name]
    loaders = {OURS + engine: ours(engine) for engine in kind.engines} | {other: OTHERS[other] for other in kind.others}
    works: dict[str, Contest] = {}
    for two, views in enumerate(kind.works):
        work = replace(loaded, two=bool(two))
        works[f"{name}, {views}"] = {who: partial(draw_for, loader, work) for who, loader in loaders.items()}
    trainings = {OURS + engine: partial(train_for, engine, kind.network, loaded, world) for engine in kind.engines}
    return works | {f"{name}, training": trainings}


def draw_for(contender: Contender, work: Loaded, seconds: float) -> Turn:
    """Take batches, once the loader has come to its pace."""
    with closing(contender(work)) as batches:
        for _ in islice(batches, WARM):
            pass
        images, cpu, started = 0, cpu_seconds(os.getpid()), time.perf_counter()
        while not images or time.perf_counter() - started < seconds:
            images += len(next(batches)[0])
        if work.device.type == "cuda":
            torch.cuda.synchronize()
        return Turn(images, time.perf_counter() - started, cpu_seconds(os.getpid()) - cpu)


def train_for(engine: str, network: dict[str, Any], work: Loaded, world: World, seconds: float) -> Turn:
    """Train; an eighth of a batch is labeled. A step's images are those that the method's losses look at."""
    settings = {"dataset": work.manifest.dataset, "method": "uda", "model": network, "precision": "fp32"}
    config = resolve(settings, {"batch_size": work.batch_size // 8, "mu": 7, "steps": 1_000_000})
    stream = None if engine == RESIDENT else stream_options(engine, work)
    data = load_training_data(work.folder, work.manifest, world, unlabeled=True, stream=stream)
    with tempfile.TemporaryDirectory() as folder:
        trainer, clock = Trainer(config, data, world, Path(folder)), Clock(world.device.type)
        with closing(trainer.loader):
            for _ in range(WARM_STEPS):
                trainer.train_step(clock)
            cpu = cpu_seconds(os.getpid())
            clock.restart()
            while not clock.steps or time.perf_counter() - clock.started < seconds:
                trainer.train_step(clock)
            images = clock.steps * trainer.images_per_step
            read = clock.read(trainer.images_per_step)
            return Turn(images, images / read["images_per_s"], cpu_seconds(os.getpid()) - cpu, read["data_wait"])


def measure(contest: Contest, repeats: int, seconds: float) -> list[dict[str, Any]]:
    """Return a row for each contender; where it is not installed, one that says so."""
    missing = {name: reason for name in contest if (reason := _missing(name))}
    turns: dict[str, list[Turn]] = {name: [] for name in contest if name not in missing}
    for repeat in range(repeats):
        for name in sorted(turns, reverse=repeat % 2 == 0):  # whoever goes first finds other caches
            turns[name].append(contest[name](seconds))
    rates = {name: [turn.images / turn.seconds for turn in measured] for name, measured in turns.items()}
    others = [rate for name, rate in rates.items() if not name.startswith(OURS)]
    best = max(others, key=statistics.median, default=None)
    rows = {name: _row(measured, rates[name], best) for name, measured in turns.items()}
    return [{"contender": name} | rows.get(name, {"missing": missing.get(name)}) for name in contest]


def _missing(name: str) -> str | None:
    """Return what to install for a contender; None if it is all there."""
    module = NEEDS.get(name)
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
    """Yield the given set, or a small and a large one."""
    if given is not None:
        yield given
        return
    for name in KINDS:
        yield make_set(folder / name, images, workers, small=name == "small")


def _line(row: dict[str, Any]) -> str:
    start = f"{row['work']:<23} {row['contender']:<25}"
    if "missing" in row:
        return f"{start} {row['missing']}"
    low, high = row["spread"]
    speed = f"{row['images_per_s']:>9,.0f} images/s ({low:,.0f} to {high:,.0f})"
    ratio = f"   {row['to_best']:.2f} of the best other" if "to_best" in row else ""
    wait = f"   waits for data {row['data_wait']:.1%}" if "data_wait" in row else ""
    return f"{start} {speed}   CPU {row['cpu_ms_per_image']:.3f} ms{ratio}{wait}"
