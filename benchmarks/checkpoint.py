"""``smpl bench checkpoint``: the time to save and to load the state of a run.

The state is that of a CIFAR-10 recipe after one step of every network and an evaluation: weights, optimizers, averages
and the best weights so far. Saving includes serialization, hashing, writing and syncing the file and its record;
loading includes reading, hashing and copying into the networks. ``share`` is the fraction of the training time that
saving takes if it happens every ``save_every`` steps of the recipe and a step takes as long as it does here.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.record import report_rows
from benchmarks.step import WARMUP_STEPS, random_split, training_data
from benchmarks.step_timer import time_steps
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from pipeline.config.recipes import load_recipe
from pipeline.config.resolve import resolve
from pipeline.config.schema import Config
from pipeline.distributed.world import World, join_world
from pipeline.training.trainer import Trainer

RUNS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "mpl": (
        "cifar10-4k-mpl",
        {"mpl": {"student_wait": 0}},
    ),  # with a wait the student would have no optimizer state yet
    "smpl": ("cifar10-4k-smpl", {}),
}


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--batch-size", type=click.IntRange(1), help="Labeled images per step.  [default: the recipe's, 128]")
@click.option("--mu", type=click.IntRange(1), help="Unlabeled images per labeled one.  [default: the recipe's, 7]")
@click.option("--width", default=2, type=click.IntRange(1), help="Width of the wide residual network of depth 28.")
@click.option("--steps", default=3, type=click.IntRange(1), help="Number of timed training steps.")
@click.option("--repeats", default=5, type=click.IntRange(1), help="Number of timed saves and loads.")
@click.option("--folder", type=click.Path(path_type=Path), help="A folder on the disk to measure.  [default: /tmp]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write rows, machine, commit and command there.")
def main(
    batch_size: int | None,
    mu: int | None,
    width: int,
    steps: int,
    repeats: int,
    folder: Path | None,
    as_json: bool,
    out: Path | None,
) -> None:
    """Time saving and loading the state of an MPL and of an SMPL run, beside their training steps."""
    if folder and not folder.is_dir():
        raise UsageError(f"--folder {folder}: there is no such folder; make it or name another one")
    world = join_world()
    size = {key: value for key, value in {"batch_size": batch_size, "mu": mu}.items() if value}

    def row(name: str) -> dict[str, Any]:
        recipe, settings = RUNS[name]
        config = resolve(load_recipe(recipe), settings | size | {"model": {"width": width}})
        with tempfile.TemporaryDirectory(dir=folder) as place:
            return {"method": name} | measure(config, world, Path(place), steps, repeats)

    report_rows(map(row, RUNS), _line, as_json=as_json, out=out)


def measure(config: Config, world: World, folder: Path, steps: int, repeats: int) -> dict[str, Any]:
    """Return the row of one run, without its name; times are in milliseconds."""
    split = random_split(world.device, config.batch_size * (1 + config.mu))
    trainer = Trainer(config, training_data(split), world, folder)
    time_steps(trainer, WARMUP_STEPS[world.device.type])
    step_s = statistics.median(time_steps(trainer, steps))
    trainer.evaluate_now()
    save_s = _median(trainer.save, repeats)
    load_s = _median(trainer.restore, repeats)
    (file,) = trainer.checkpoints.path.glob("*.pt")
    return {
        "precision": trainer.precision.name,
        "compile": trainer.compiler.name,
        "state_bytes": file.stat().st_size,
        "save_ms": round(1000 * save_s, 2),
        "load_ms": round(1000 * load_s, 2),
        "step_ms": round(1000 * step_s, 2),
        "save_every": config.save_every,
        "share": round(save_s / (save_s + config.save_every * step_s), 6),
    }


def _median(action: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _line(row: dict[str, Any]) -> str:
    state = f"{row['state_bytes'] / 1e6:.1f} MB: save {row['save_ms']:.1f} ms, load {row['load_ms']:.1f} ms"
    share = f"{row['share']:.3%} of the time at every {row['save_every']} steps of {row['step_ms']:.1f} ms"
    return f"{row['method']:<6} {state}   {share}"
