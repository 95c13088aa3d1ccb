"""``smpl bench peer``: our MPL step beside the loop of a checkout of kekmodel/MPL-pytorch, on equal terms.

Same pictures, batch, network size, threads and machine; each makes its own views, and its loop runs as it is written,
in a process of its own. The checkout is named by its path: none of it is here.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from benchmarks.record import save_record
from data_prep.command import Command
from data_prep.errors import UsageError

NEEDED = ("main.py", "data.py", "models.py", "utils.py")


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("checkout", type=click.Path(path_type=Path))
@click.option("--batch-size", default=32, type=click.IntRange(1), help="Labeled images, B.")
@click.option("--mu", default=7, type=click.IntRange(1), help="Unlabeled images for each labeled one.")
@click.option("--steps", default=6, type=click.IntRange(2), help="Timed steps of each, after one that is not.")
@click.option("--turns", default=2, type=click.IntRange(1), help="Each is timed so often, in turns.")
@click.option("--workers", default=2, type=click.IntRange(0), help="Loader processes of the checkout's loop.")
@click.option("--precisions", default="fp32,bf16", help="Of our steps; its own is fp32 on a CPU, fp16 on a GPU.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result there as JSON.")
def main(
    checkout: Path, batch_size: int, mu: int, steps: int, turns: int, workers: int, precisions: str, out: Path | None
) -> None:
    """Time a step of MPL here beside one of the CHECKOUT of MPL-pytorch."""
    if missing := [name for name in NEEDED if not (checkout / name).is_file()]:
        raise UsageError(f"{checkout} is no checkout of MPL-pytorch: there is no {missing[0]}")
    size = ["--batch-size", str(batch_size), "--mu", str(mu), "--steps", str(steps)]
    runs = {"MPL-pytorch": ["benchmarks.peer_loop", str(checkout.resolve()), *size, "--workers", str(workers)]}
    for precision in precisions.split(","):
        for method in ("mpl", "smpl-shared-graph"):
            runs[f"{method}, {precision}"] = ["benchmarks.own_loop", method, *size, "--precision", precision]
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, words in runs.items():
            times[name] += _timed(words)
    rows = _rows(times, batch_size * (1 + mu))
    for row in rows:
        click.echo(
            f"{row['loop']:<26} {row['step_ms']:>9.1f} ms  {row['images_per_s']:>8.1f} images/s  x {row['speed']}"
        )
    if out:
        save_record(out, rows)


def _rows(times: dict[str, list[float]], images: int) -> list[dict[str, Any]]:
    """Return for each loop its median step, and how many times it is as fast as the first."""
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    first = next(iter(medians.values()))
    return [
        {
            "loop": name,
            "step_ms": round(1000 * seconds, 1),
            "images_per_s": round(images / seconds, 1),
            "speed": round(first / seconds, 2),
        }
        for name, seconds in medians.items()
    ]


def _timed(words: list[str]) -> list[float]:
    """Run a loop in a process of its own; return the seconds of its steps."""
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))  # noqa: S603
    if done.returncode:
        raise UsageError(f"{words[0]} ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return list(json.loads(done.stdout.splitlines()[-1]))
