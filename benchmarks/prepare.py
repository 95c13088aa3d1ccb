"""``smpl bench prepare``: preparation from image files against Pillow alone on the same files, as many processes each.

Both are commands of their own, so their time and memory are all they take. ``--exclude-labeled`` lets preparation treat
every file once, as Pillow does. Preparation checks, measures, hashes and stores besides; bytes that are kept need no
encoding, so there the pass that only decodes is the stricter measure.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

import click

from benchmarks.photographs import PHOTOGRAPHS, make_files
from benchmarks.processes import Usage, run_measured
from benchmarks.record import tell_rows
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from data_prep.system.workers import available_cpus

RESIZE, QUALITY = ("--resize", "256"), ("--quality", "90")
PREPARE, DECODE, ENCODE = "smpl-data prepare", "Pillow: decode", "Pillow: decode, encode"


@dataclass(frozen=True)
class Place:
    """Where the files are and where new ones go, and how many processes there are."""

    files: Path
    new: Path
    workers: int


Contender = Callable[[Place], list[str]]


def prepared(*options: str) -> Contender:
    """Return the command that prepares a set of the files."""

    def command(place: Place) -> list[str]:
        new = tempfile.mkdtemp(dir=place.new)
        paths = ["--source", str(place.files), "--out", new]
        start = [sys.executable, "-c", "from data_prep.cli import main; main()", "prepare", "folder"]
        return [*start, *paths, "--exclude-labeled", "--workers", str(place.workers), *options]

    return command


def bare(*options: str) -> Contender:
    """Return the command that sends the files through Pillow alone."""

    def command(place: Place) -> list[str]:
        workers = str(place.workers)
        return [sys.executable, "-m", "benchmarks.bare", str(place.files), "--workers", workers, *options]

    return command


WORKS: dict[str, dict[str, Contender]] = {
    "resize": {
        PREPARE: prepared(*RESIZE, *QUALITY),
        "Pillow: decode, resize, encode": bare(*RESIZE, *QUALITY),
    },
    "keep": {PREPARE: prepared(), ENCODE: bare(*QUALITY), DECODE: bare()},
}


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--images", default="2000", metavar="N,...", help="Files of about 500x375; one run for each number.")
@click.option("--distinct", default=400, type=click.IntRange(1), help="Files that differ; the others are links.")
@click.option("--works", default=",".join(WORKS), help="resize: to 256 at quality 90; keep: the bytes as they are.")
@click.option("--workers", type=click.IntRange(1), help="Processes; as many as CPUs if left out.")
@click.option("--repeats", default=3, type=click.IntRange(1), help="Turns, in which all contenders run once.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write rows, machine, commit and command there.")
def main(
    images: str, distinct: int, works: str, workers: int | None, repeats: int, as_json: bool, out: Path | None
) -> None:
    """Time preparation of image files beside Pillow alone, in turns; with the peak memory of all processes."""
    for work in works.split(","):
        if work not in WORKS:
            raise UsageError(f"--works: unknown work {work!r}; choose from {', '.join(WORKS)}")
    cases = product(_numbers(images), works.split(","))
    found = (measure(work, count, distinct, workers or available_cpus(), repeats) for count, work in cases)
    tell_rows(chain.from_iterable(found), _line, as_json=as_json, out=out)


def measure(work: str, images: int, distinct: int, workers: int, repeats: int) -> list[dict[str, Any]]:
    """Return a row for each contender of a work, on the same files."""
    used: dict[str, list[Usage]] = {name: [] for name in WORKS[work]}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        make_files(files, images, PHOTOGRAPHS, distinct=distinct)
        for repeat in range(repeats):
            for name in sorted(used, reverse=repeat % 2 == 0):  # whoever goes first finds other caches
                with tempfile.TemporaryDirectory(dir=folder) as new:
                    used[name].append(run_measured(WORKS[work][name](Place(files, Path(new), workers))))
    return [{"work": work, "contender": name} | _row(images, usages, used[PREPARE]) for name, usages in used.items()]


def _row(images: int, usages: list[Usage], reference: list[Usage]) -> dict[str, Any]:
    """Return medians over the turns; ``prepare_ratio`` is the speed of preparation over this one's."""
    rates = [images / usage.seconds for usage in usages]
    ratios = [usage.seconds / other.seconds for usage, other in zip(usages, reference, strict=True)]
    cpu_ratios = [usage.cpu_seconds / other.cpu_seconds for usage, other in zip(usages, reference, strict=True)]
    return {
        "images": images,
        "seconds": round(sum(usage.seconds for usage in usages), 2),
        "images_per_s": round(statistics.median(rates), 1),
        "spread": [round(min(rates), 1), round(max(rates), 1)],
        "cpu_ms_per_image": round(1000 * statistics.median(usage.cpu_seconds for usage in usages) / images, 3),
        "prepare_ratio": round(statistics.median(ratios), 3),
        "prepare_cpu_ratio": round(statistics.median(cpu_ratios), 3),
        "peak_mb": round(max(usage.peak_bytes for usage in usages) / 1e6, 1),
        "load": round(os.getloadavg()[0], 1),
    }


def _numbers(images: str) -> list[int]:
    try:
        return [int(number) for number in images.split(",")]
    except ValueError:
        raise UsageError(f"--images: {images!r} is no number or row of numbers, such as 2000,20000") from None


def _line(row: dict[str, Any]) -> str:
    low, high = row["spread"]
    speed = f"{row['images_per_s']:>7.1f} images/s ({low:.0f} to {high:.0f})   CPU {row['cpu_ms_per_image']:>6.2f} ms"
    rest = f"prepare is {row['prepare_ratio']:.2f} of it   peak {row['peak_mb']:>6.1f} MB"
    return f"{row['work']:<7} {row['images']:>6} {row['contender']:<31} {speed}   {rest}"
