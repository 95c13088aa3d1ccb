"""``smpl bench step``: a training step against the bare forward and backward passes that its mathematics needs.

A bare pass is the network and a cross-entropy, nothing else: no views, optimizer, clipping, average or log. The passes
of a method are counted in images, with B labeled and U = mu * B unlabeled ones:

=================  =======================================  ==========================================
method             forward without a graph                  forward and backward
=================  =======================================  ==========================================
supervised                                                  B
uda, fixmatch      U (targets)                              B + U
mpl                U (targets) + B + U (labels)             U (student), B + U (teacher)
                   + B (old) + B (new)
mpl-argmax         U (labels) + B (old) + B (new)           U (student), B + U (teacher)
smpl recompute     U (labels) + B (old) + B (new)           U (step 1), B + U (step 2)
smpl shared-graph  U (labels) + B (old) + B (new)           B + U, with two backward passes
metasemi           U (labels) + U (ahead) + U (behind)      B (direction), 2 U (mixed and weak)
=================  =======================================  ==========================================

Everything that MetaSemi does before its update runs in evaluation mode and in fp32, whatever the precision, because its
difference of two predictions would vanish in the rounding of bf16. Its bare passes do the same.

The networks of bare passes are compiled if the step's are. ``data_wait`` is measured over consecutive steps that do not
wait for the device in between, as in a training run.

On a GPU ``reserved_bytes`` is the memory that the allocator holds after one step, having returned what it could before
that step; ``peak_bytes`` is the peak memory of tensors in that step. CUDA graphs have no ``peak_bytes``: a replay
writes to the memory of its capture, so the allocator cannot see a peak. Their ``reserved_bytes`` include the graphs of
the bare passes. For memory on a CPU see ``smpl bench memory``.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch.nn import functional as F

from benchmarks.record import report_rows
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from pipeline.config.command_line import command_line
from pipeline.config.resolve import merge, resolve
from pipeline.config.schema import Config
from pipeline.data.resident.split import ResidentSplit
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.world import World, join_world
from pipeline.registry import nearest
from pipeline.task import Task
from pipeline.train import COMPILES, PRECISIONS
from pipeline.training.throughput import Clock
from pipeline.training.trainer import Trainer


@dataclass(frozen=True)
class Pass:
    """A forward pass and the backward passes through its graph."""

    images: int
    """Number of images in the batch."""
    backward: int = 0
    """Number of backward passes; with 0 the forward pass builds no graph."""
    exact: bool = False
    """Whether the pass runs in evaluation mode and in fp32, whatever the precision."""


Needs = Callable[[int, int], Sequence[Pass]]
"""Returns the passes of a step with B labeled and U unlabeled images."""


def _with_targets(b: int, u: int) -> Sequence[Pass]:
    return [Pass(u), Pass(b + u, 1)]


def _two_steps(b: int, u: int) -> Sequence[Pass]:
    return [Pass(u), Pass(b), Pass(u, 1), Pass(b), Pass(b + u, 1)]


def _with_drawn_labels(b: int, u: int) -> Sequence[Pass]:
    """Return the passes of MPL's exact form: the labels are drawn from a pass like that of the teacher's loss."""
    return [Pass(b + u), *_two_steps(b, u)]


CASES: dict[str, tuple[dict[str, Any], Needs]] = {
    "supervised": ({"method": "supervised"}, lambda b, u: [Pass(b, 1)]),  # noqa: ARG005
    "uda": ({"method": "uda"}, _with_targets),
    "fixmatch": ({"method": "fixmatch"}, _with_targets),
    "mpl": ({"method": "mpl"}, _with_drawn_labels),
    "mpl-argmax": ({"method": "mpl", "mpl": {"label_mode": "argmax"}}, _two_steps),
    "smpl-recompute": ({"method": "smpl", "smpl": {"form": "recompute"}}, _two_steps),
    "smpl-shared-graph": (
        {"method": "smpl", "smpl": {"form": "shared-graph"}},
        lambda b, u: [Pass(u), Pass(b), Pass(b + u, 2), Pass(b)],
    ),
    "metasemi": (
        {"method": "metasemi"},
        lambda b, u: [*[Pass(u, exact=True)] * 3, Pass(b, 1, exact=True), Pass(2 * u, 1)],
    ),
    "uda-separate": (
        {"method": "uda", "batch_statistics": "separate"},
        lambda b, u: [Pass(u), Pass(b, 1), Pass(u, 1)],
    ),
    "smpl-shared-graph-separate": (
        {"method": "smpl", "smpl": {"form": "shared-graph"}, "batch_statistics": "separate"},
        lambda b, u: [Pass(u), Pass(b), Pass(b, 1), Pass(u, 2), Pass(b)],
    ),
}
WARMUP_STEPS: Mapping[str, int] = {"cpu": 1, "cuda": 4}
"""Steps and bare passes before the measured ones, by device type; they are compiled and captured during these."""
UNSYNCED_STEPS: Mapping[str, int] = {"cpu": 2, "cuda": 20}
"""Consecutive steps for ``data_wait``, by device type."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--batch-size", default=32, type=click.IntRange(1), help="Labeled images, B.")
@click.option("--mu", default=7, type=click.IntRange(1), help="Unlabeled images per labeled one.")
@click.option("--width", default=2, type=click.IntRange(1), help="Width of the wide residual network of depth 28.")
@click.option("--precision", default="fp32", type=PRECISIONS, help="Precision of the step and of its bare passes.")
@click.option("--compile", "compiled", default="auto", type=COMPILES, help="Whether to compile both; auto: on a GPU.")
@click.option("--methods", default=",".join(CASES), help="Rows, separated by commas.")
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Any key, such as model.name=fast_conv.")
@click.option("--repeats", default=7, type=click.IntRange(1), help="Number of measured pairs of step and bare passes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write rows, machine, commit and command there.")
def main(
    batch_size: int,
    mu: int,
    width: int,
    precision: str,
    compiled: str,
    methods: str,
    changes: tuple[str, ...],
    repeats: int,
    as_json: bool,
    out: Path | None,
) -> None:
    """Time one training step beside its bare passes, in turns; the ratio is the median over the pairs."""
    world, chosen = join_world(), command_line({}, changes)

    def row(name: str) -> dict[str, Any]:
        settings, needs = CASES[name]
        config = bench_config(merge(settings, chosen), batch_size, mu, width, precision, compiled)
        return {"method": name} | measure(config, needs(batch_size, mu * batch_size), world, repeats)

    report_rows(map(row, named_cases(methods)), _line, as_json=as_json, out=out)


def named_cases(methods: str) -> list[str]:
    """Return the names in a comma-separated list of cases. Raises UsageError for an unknown one."""
    names = methods.split(",")
    for name in names:
        if name not in CASES:
            raise UsageError(f"--methods: unknown row {name!r}: {nearest(name, CASES)}")
    return names


def measure(config: Config, passes: Sequence[Pass], world: World, repeats: int) -> dict[str, Any]:
    """Return the row of a case: medians of a step and of its bare passes in milliseconds, and the other entries."""
    split = random_split(world.device, 2 * config.batch_size * (1 + config.mu))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, training_data(split), world, Path(folder))
        bare = BarePasses(trainer, split)
        timed = {"step": partial(trainer.train_step, Clock()), "bare": partial(bare.run, passes)}
        for action in list(timed.values()) * WARMUP_STEPS[world.device.type]:
            _seconds(action, world)
        times: dict[str, list[float]] = {"step": [], "bare": []}
        for repeat in range(repeats):
            for name in sorted(timed, reverse=repeat % 2 == 0):  # the first one finds other caches
                times[name].append(_seconds(timed[name], world))
        views = [_seconds(partial(trainer.loader.batch, step), world) for step in range(25)][5:]
        wait = _data_wait(trainer)
        memory = gpu_memory(trainer)
    made = config.batch_size * (1 + config.mu * len(trainer.method.views))
    step_s, bare_s = (statistics.median(times[name]) for name in ("step", "bare"))
    ratio = statistics.median(step / bare for step, bare in zip(times["step"], times["bare"], strict=True))
    return {
        "precision": trainer.precision.name,
        "compile": trainer.compiler.name,
        "step_ms": round(1000 * step_s, 2),
        "bare_ms": round(1000 * bare_s, 2),
        "ratio": round(ratio, 4),
        "data_wait": round(wait, 4),
        "augment_images_per_s": round(made / statistics.median(views)),
        "forward_images": count_forward(passes),
        "backward_images": count_backward(passes),
        "images_per_s": round(trainer.images_per_step / step_s, 1),
    } | memory


def count_forward(passes: Sequence[Pass]) -> int:
    """Return the images of all forward passes."""
    return sum(each.images for each in passes)


def count_backward(passes: Sequence[Pass]) -> int:
    """Return the images of all backward passes."""
    return sum(each.backward * each.images for each in passes)


def gpu_memory(trainer: Trainer) -> dict[str, int]:
    """Return the GPU memory of a step in bytes, as explained at the top of this file; an empty dict on a CPU."""
    if trainer.world.device.type != "cuda":
        return {}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    trainer.train_step(Clock())
    torch.cuda.synchronize()
    reserved = {"reserved_bytes": torch.cuda.memory_reserved()}
    return reserved if trainer.compiler.graphs else {"peak_bytes": torch.cuda.max_memory_allocated()} | reserved


def _data_wait(trainer: Trainer) -> float:
    """Return the fraction of the time that consecutive steps spend on making batches."""
    device = trainer.world.device.type
    clock = Clock(device)
    for _ in range(UNSYNCED_STEPS[device]):
        trainer.train_step(clock)
    return clock.read(trainer.images_per_step)["data_wait"]


class BarePasses:
    """The bare passes of a trainer's network, in its precision and memory format and compiled like it."""

    def __init__(self, trainer: Trainer, split: ResidentSplit) -> None:
        network = next(iter(trainer.evaluated.values()))
        self.module, self.forward, self.parameters = network.module, network.compiled, network.parameters
        self.compiler, self.precision, self.split = trainer.compiler, trainer.precision, split

    def run(self, passes: Sequence[Pass]) -> None:
        """Run the passes of one step, forward and backward."""
        self.compiler.begin_step()
        for each in passes:
            self.module.train(not each.exact)
            with torch.set_grad_enabled(each.backward > 0):
                loss = self._loss(each)
            for left in range(each.backward - 1, -1, -1):
                torch.autograd.grad(loss, self.parameters, retain_graph=left > 0)

    def _loss(self, each: Pass) -> torch.Tensor:
        images, labels = self.split.images[: each.images], self.split.labels[: each.images]
        with nullcontext() if each.exact else self.precision.autocast():
            return F.cross_entropy(self.forward(images).float(), labels)


def bench_config(
    settings: dict[str, Any], batch_size: int, mu: int, width: int, precision: str, compiled: str = "off"
) -> Config:
    """Return the configuration of a benchmark: WRN-28-``width`` on images of CIFAR's size, with a method's settings."""
    base = {
        "dataset": "cifar10",
        "batch_size": batch_size,
        "mu": mu,
        "precision": precision,
        "compile": compiled,
        "steps": 1_000_000,
        "model": {"name": "wide_resnet", "depth": 28, "width": width},
        "optimizer": {"clip": 0.8},
    }
    return resolve(base, settings)


def random_split(device: torch.device, size: int) -> ResidentSplit:
    """Return ``size`` random images of CIFAR's size with labels, on the device."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8).to(device)
    return ResidentSplit(torch.arange(size, device=device), images, torch.arange(size, device=device) % 10)


def training_data(split: ResidentSplit) -> TrainingData:
    """Return training data whose three splits are all ``split``."""
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
    return f"{row['method']:<18} {times}   waits {row['data_wait']:.1%}   views {row['augment_images_per_s']:>8,}/s"
