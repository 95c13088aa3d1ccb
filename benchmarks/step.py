"""``smpl bench step``: a training step against the bare forward and backward passes that its mathematics needs.

A bare pass is the network and a cross-entropy, nothing else: no views, no optimizer, no clipping, no average, no log.
What a method needs is counted in images, B labeled and U = mu * B unlabeled ones:

=================  =======================================  ==========================================
method             forward without a graph                  forward and backward
=================  =======================================  ==========================================
supervised                                                  B
uda                U (targets)                              B + U
mpl                U (labels) + B (old) + B (new)           U (student), B + U (teacher)
smpl recompute     U (labels) + B (old) + B (new)           U (step 1), B + U (step 2)
smpl shared-graph  U (labels) + B (old) + B (new)           B + U, with two backward passes
=================  =======================================  ==========================================
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.record import save_record
from data_prep.command import Command
from data_prep.errors import UsageError
from pipeline.config import Config
from pipeline.data.resident import ResidentSplit
from pipeline.data.training import TrainingData
from pipeline.distributed import World, join_world
from pipeline.engine.trainer import Trainer
from pipeline.registry import nearest
from pipeline.report.clock import Clock
from pipeline.resolve import resolve
from pipeline.task import Task


@dataclass(frozen=True)
class Passes:
    """Images of each pass: without a graph, with one backward, with two backwards of one forward."""

    forward: Sequence[int] = ()
    backward: Sequence[int] = ()
    twice: Sequence[int] = ()


Needs = Callable[[int, int], Passes]
CASES: dict[str, tuple[dict[str, Any], Needs]] = {
    "supervised": ({"method": "supervised"}, lambda b, u: Passes(backward=[b])),  # noqa: ARG005
    "uda": ({"method": "uda"}, lambda b, u: Passes([u], [b + u])),
    "mpl": ({"method": "mpl"}, lambda b, u: Passes([u, b, b], [u, b + u])),
    "smpl-recompute": (
        {"method": "smpl", "smpl": {"form": "recompute"}},
        lambda b, u: Passes([u, b, b], [u, b + u]),
    ),
    "smpl-shared-graph": (
        {"method": "smpl", "smpl": {"form": "shared-graph"}},
        lambda b, u: Passes([u, b, b], twice=[b + u]),
    ),
}


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--batch-size", default=32, type=click.IntRange(1), help="Labeled images, B.")
@click.option("--mu", default=7, type=click.IntRange(1), help="Unlabeled images for each labeled one.")
@click.option("--width", default=2, type=click.IntRange(1), help="Of the wide residual network of depth 28.")
@click.option("--precision", default="fp32", type=click.Choice(["auto", "fp32", "bf16", "fp16"]))
@click.option("--methods", default=",".join(CASES), help="Rows, separated by commas.")
@click.option("--repeats", default=7, type=click.IntRange(1), help="Measured pairs of step and bare passes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write rows, machine, commit and command there.")
def main(
    batch_size: int, mu: int, width: int, precision: str, methods: str, repeats: int, as_json: bool, out: Path | None
) -> None:
    """Time one training step beside its bare passes, in turns; ratio is the median over the pairs."""
    world = join_world()
    rows = []
    for name in methods.split(","):
        if name not in CASES:
            raise UsageError(f"--methods: unknown row {name!r}: {nearest(name, CASES)}")
        settings, needs = CASES[name]
        config = bench_config(settings, batch_size, mu, width, precision)
        rows.append({"method": name} | measure(config, needs(batch_size, mu * batch_size), world, repeats))
        if not as_json:
            click.echo(_line(rows[-1]))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    if out:
        save_record(out, rows)


def measure(config: Config, passes: Passes, world: World, repeats: int) -> dict[str, float]:
    """Return medians of a step and of its bare passes, in milliseconds, and the rate of making views."""
    split = random_split(world.device, config.batch_size * (1 + config.mu))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, data_of(split), world, Path(folder))
        clock, bare = Clock(), BarePasses(trainer, split)
        bare.run(passes)
        trainer.train_step(clock)
        timed = {"step": partial(trainer.train_step, clock), "bare": partial(bare.run, passes)}
        times: dict[str, list[float]] = {"step": [], "bare": []}
        for repeat in range(repeats):
            for name in sorted(timed, reverse=repeat % 2 == 0):  # whoever goes first finds other caches
                times[name].append(_seconds(timed[name], world))
        views = [_seconds(partial(trainer.loader.batch, step), world) for step in range(25)][5:]
    made = config.batch_size * (1 + 2 * config.mu * bool(trainer.method.views))
    step_s, bare_s = (statistics.median(times[name]) for name in ("step", "bare"))
    ratio = statistics.median(step / bare for step, bare in zip(times["step"], times["bare"], strict=True))
    return {
        "step_ms": round(1000 * step_s, 2),
        "bare_ms": round(1000 * bare_s, 2),
        "ratio": round(ratio, 4),
        "augment_images_per_s": round(made / statistics.median(views)),
        "forward_images": sum(passes.forward) + sum(passes.backward) + sum(passes.twice),
        "backward_images": sum(passes.backward) + 2 * sum(passes.twice),
        "images_per_s": round(trainer.images_per_step / step_s, 1),
    }


class BarePasses:
    """A network of the same kind, in the same precision and memory format, and nothing around it."""

    def __init__(self, trainer: Trainer, split: ResidentSplit) -> None:
        self.network: nn.Module = next(iter(trainer.evaluated.values())).module
        self.parameters = list(self.network.parameters())
        self.precision, self.split = trainer.precision, split

    def run(self, passes: Passes) -> None:
        self.network.train()
        for images in passes.forward:
            with torch.no_grad():
                self._loss(images)
        for images in passes.backward:
            torch.autograd.grad(self._loss(images), self.parameters)
        for images in passes.twice:
            loss = self._loss(images)
            torch.autograd.grad(loss, self.parameters, retain_graph=True)
            torch.autograd.grad(loss, self.parameters)

    def _loss(self, count: int) -> torch.Tensor:
        images, labels = self.split.images[:count], self.split.labels[:count]
        with self.precision.autocast():
            return F.cross_entropy(self.network(images).float(), labels)


def bench_config(settings: dict[str, Any], batch_size: int, mu: int, width: int, precision: str) -> Config:
    base = {
        "dataset": "cifar10",
        "batch_size": batch_size,
        "mu": mu,
        "precision": precision,
        "steps": 1_000_000,
        "model": {"name": "wide_resnet", "depth": 28, "width": width},
        "optimizer": {"clip": 0.8},
    }
    return resolve(base, settings)


def random_split(device: torch.device, size: int) -> ResidentSplit:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8).to(device)
    return ResidentSplit(torch.arange(size, device=device), images, torch.arange(size, device=device) % 10)


def data_of(split: ResidentSplit) -> TrainingData:
    task = Task((3, 32, 32), (127.5,) * 3, (64.0,) * 3, 10)
    return TrainingData(split, split, split, task, "random")


def _seconds(action: Callable[[], object], world: World) -> float:
    started = time.perf_counter()
    action()
    if world.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _line(row: dict[str, Any]) -> str:
    times = f"step {row['step_ms']:>9.1f} ms   bare {row['bare_ms']:>9.1f} ms   ratio {row['ratio']:.3f}"
    return f"{row['method']:<18} {times}   views {row['augment_images_per_s']:>8,}/s"
