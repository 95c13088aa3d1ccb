"""``smpl bench scale``: steps of a method on one and on several processes of this machine, with the same global batch.

This is strong scaling: N processes share the images of a step. Efficiency is the speedup over one process, divided by
the growth of the hardware: N on GPUs, where each process has one GPU, and 1 on a CPU, where the processes share the
same cores as threads. Reduced bytes are what a rank passes to all-reduce in a step: gradients, BN's statistics and
scalars, but not SyncBatchNorm's own traffic.
"""

import json
import statistics
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.child import answer_of
from benchmarks.record import report_rows
from benchmarks.step import CASES, bench_config, named_cases
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from data_prep.system.workers import available_cpus
from pipeline.config.schema import Config, batch_error
from pipeline.train import COMPILES, PRECISIONS

LAUNCHER = ("torch.distributed.run", "--standalone", "--local-addr=localhost")


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--processes", default="1,2", help="Numbers of processes, separated by commas; 1 is always measured.")
@click.option("--methods", default="smpl-shared-graph", help=f"Some of {', '.join(CASES)}, separated by commas.")
@click.option("--batch-size", default=32, type=click.IntRange(1), help="Labeled images of all processes, B.")
@click.option("--mu", default=7, type=click.IntRange(1), help="Unlabeled images per labeled one.")
@click.option("--width", default=2, type=click.IntRange(1), help="Width of the wide residual network of depth 28.")
@click.option("--precision", default="fp32", type=PRECISIONS, help="Number format of forward passes.")
@click.option("--compile", "compiled", default="auto", type=COMPILES, help="Whether to compile networks and views.")
@click.option("--steps", default=6, type=click.IntRange(1), help="Timed steps per turn, after some warm-up steps.")
@click.option("--turns", default=2, type=click.IntRange(1), help="Number of turns.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write rows, machine, commit and command there.")
def main(
    processes: str,
    methods: str,
    batch_size: int,
    mu: int,
    width: int,
    precision: str,
    compiled: str,
    steps: int,
    turns: int,
    as_json: bool,
    out: Path | None,
) -> None:
    """Time training steps on 1..N processes with the same global batch."""
    counts, rows = read_counts(processes), list[dict[str, Any]]()
    for name in named_cases(methods):
        config = bench_config(CASES[name][0], batch_size, mu, width, precision, compiled)
        check_counts(counts, config)
        rows += measure(name, config, counts, steps, turns)
    report_rows(rows, _line, as_json=as_json, out=out)


def read_counts(processes: str) -> list[int]:
    """Return the numbers of processes in increasing order, including 1. Raises UsageError."""
    words = processes.split(",")
    if not all(word.isdecimal() and int(word) for word in words):
        raise UsageError(f"--processes {processes}: expected numbers separated by commas, such as 1,2")
    return sorted({1, *map(int, words)})


def check_counts(counts: list[int], config: Config) -> None:
    """Raise UsageError if this machine or the batch size does not allow one of the numbers of processes."""
    gpus = torch.cuda.device_count()
    if gpus and counts[-1] > gpus:
        raise UsageError(f"--processes {counts[-1]}: this machine has {gpus} GPUs, and a process needs one of its own")
    for count in counts:
        if error := batch_error(config, count):
            raise UsageError(error)


def measure(name: str, config: Config, counts: list[int], steps: int, turns: int) -> list[dict[str, Any]]:
    """Return a row for each number of processes, measured in turns. Raises UserError if one fails."""
    answers: dict[int, list[dict[str, Any]]] = {count: [] for count in counts}
    for _ in range(turns):
        for count in counts:
            answers[count].append(run_ranks(config, count, steps))
    medians = {
        count: statistics.median(second for answer in found for second in answer["seconds"])
        for count, found in answers.items()
    }
    gpus = torch.cuda.is_available()
    return [
        {"method": name}
        | {key: value for key, value in answers[count][0].items() if key not in ("seconds", "images")}
        | {
            "step_ms": round(1000 * seconds, 2),
            "images_per_s": round(answers[count][0]["images"] / seconds, 1),
            "efficiency": round(medians[1] / seconds / (count if gpus else 1), 3),
        }
        for count, seconds in medians.items()
    ]


def run_ranks(config: Config, processes: int, steps: int) -> dict[str, Any]:
    """Run the ranks; return the measurement of the first one. Raises UserError if they fail."""
    threads = max(1, available_cpus() // processes)
    words = [*LAUNCHER, f"--nproc-per-node={processes}", "-m", "benchmarks.scale_rank", str(steps)]
    return dict(answer_of([*words, json.dumps(config.tree())], {"OMP_NUM_THREADS": str(threads)}))


def _line(row: dict[str, Any]) -> str:
    where = f"{row['processes']:>2} x {row['threads']} threads"
    speed = f"{row['step_ms']:>9.1f} ms  {row['images_per_s']:>8.1f} images/s  efficiency {row['efficiency']:.2f}"
    return f"{row['method']:<18} {where}  {speed}  {row['reduced_bytes']:>12,} bytes reduced"
