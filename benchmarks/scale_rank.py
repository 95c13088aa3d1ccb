"""``python -m benchmarks.scale_rank STEPS SETTINGS``, on every rank: the seconds and reduced bytes of steps."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from benchmarks.step import WARMUP_STEPS, random_split, training_data
from benchmarks.step_timer import time_steps
from data_prep.system.cli import Command
from pipeline.config.resolve import resolve
from pipeline.distributed.world import World, join_world, leave_world
from pipeline.training.throughput import Clock
from pipeline.training.trainer import Trainer


@click.command(cls=Command)
@click.argument("steps", type=int)
@click.argument("settings")
def main(steps: int, settings: str) -> None:
    """Time STEPS steps of the configuration SETTINGS; rank 0 prints JSON."""
    world = join_world()
    with tempfile.TemporaryDirectory() as folder:
        answer = measure(json.loads(settings), world, steps, Path(folder))
    if world.main:
        click.echo(json.dumps(answer))
    leave_world()


def measure(settings: dict[str, Any], world: World, steps: int, folder: Path) -> dict[str, Any]:
    """Return the seconds of each step on this rank and the other entries of the row."""
    config = resolve(settings, {})
    split = random_split(world.device, config.batch_size * (1 + config.mu))
    trainer = Trainer(config, training_data(split), world, folder)
    time_steps(trainer, WARMUP_STEPS[world.device.type])
    return {
        "processes": world.size,
        "threads": torch.get_num_threads(),
        "precision": trainer.precision.name,
        "compile": trainer.compiler.name,
        "images": trainer.images_per_step,
        "seconds": time_steps(trainer, steps),
        "reduced_bytes": count_reduced(trainer),
    }


def count_reduced(trainer: Trainer) -> int:
    """Train a step; return the bytes that this rank passed to all-reduce, through DDP and through the engine."""
    for network in trainer.networks.values():
        if isinstance(network.parallel, DistributedDataParallel):  # DDP's own reductions do not go through Python
            network.parallel.register_comm_hook(dist.group.WORLD, allreduce_hook)
    with _counted() as sizes:
        trainer.train_step(Clock())
    return sum(sizes)


@contextmanager
def _counted() -> Iterator[list[int]]:
    """Yield a list that receives the bytes of each ``torch.distributed.all_reduce`` inside this context."""
    sizes: list[int] = []
    reduce = dist.all_reduce

    def count(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
        sizes.append(tensor.nbytes)
        return reduce(tensor, *arguments, **options)

    dist.all_reduce = count
    try:
        yield sizes
    finally:
        dist.all_reduce = reduce


if __name__ == "__main__":
    main()
