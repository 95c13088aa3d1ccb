"""``python -m benchmarks.own_loop METHOD``: the seconds of our training steps, as a JSON list."""

import json
import tempfile
import time
from pathlib import Path

import click
import torch

from benchmarks.step import CASES, bench_config, data_of, random_split
from pipeline.distributed import join_world
from pipeline.engine.trainer import Trainer
from pipeline.report.clock import Clock


@click.command()
@click.argument("method")
@click.option("--batch-size", type=int, required=True)
@click.option("--mu", type=int, required=True)
@click.option("--steps", type=int, required=True)
@click.option("--precision", required=True)
def main(method: str, batch_size: int, mu: int, steps: int, precision: str) -> None:
    """Time STEPS steps after one that is not timed: views, passes, optimizer, average and metrics."""
    world, clock, seconds = join_world(), Clock(), []
    config = bench_config(CASES[method][0], batch_size, mu, 2, precision)
    split = random_split(world.device, batch_size * (1 + mu))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, data_of(split), world, Path(folder))
        for _ in range(steps + 1):
            started = time.perf_counter()
            trainer.train_step(clock)
            if world.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
    click.echo(json.dumps(seconds[1:]))


if __name__ == "__main__":
    main()
