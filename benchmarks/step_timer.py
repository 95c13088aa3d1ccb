"""``python -m benchmarks.step_timer CASE``: the seconds of each of our training steps, as a JSON list."""

import json
import tempfile
import time
from pathlib import Path

import click
import torch

from benchmarks.step import CASES, WARMUP_STEPS, bench_config, random_split, training_data
from data_prep.system.cli import Command
from pipeline.distributed.world import join_world
from pipeline.training.throughput import Clock
from pipeline.training.trainer import Trainer


@click.command(cls=Command)
@click.argument("case")
@click.option("--batch-size", type=int, required=True)
@click.option("--mu", type=int, required=True)
@click.option("--steps", type=int, required=True)
@click.option("--precision", required=True)
@click.option("--compile", "compiled", required=True)
def main(case: str, batch_size: int, mu: int, steps: int, precision: str, compiled: str) -> None:
    """Time STEPS steps of CASE after some warm-up steps: views, passes, optimizer, average and metrics."""
    world = join_world()
    config = bench_config(CASES[case][0], batch_size, mu, 2, precision, compiled)
    split = random_split(world.device, batch_size * (1 + mu))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, training_data(split), world, Path(folder))
        time_steps(trainer, WARMUP_STEPS[world.device.type])
        seconds = time_steps(trainer, steps)
    click.echo(json.dumps(seconds))


def time_steps(trainer: Trainer, steps: int) -> list[float]:
    """Train ``steps`` steps; return the seconds of each, including the device's work."""
    clock, seconds = Clock(), []
    for _ in range(steps):
        started = time.perf_counter()
        trainer.train_step(clock)
        if trainer.world.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main()
