"""``smpl bench prepare``: preparation of image files against Pillow alone, on the same files and as many processes.

Both run as commands of their own, so that their time and memory can be measured completely. ``--exclude-labeled`` makes
preparation process every file once, as Pillow does. Preparation also checks, measures, hashes and stores the images.
Bytes that are kept need no encoding, so for the work ``keep`` Pillow's decoding alone is the stricter reference.
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

from benchmarks.record import report_rows
from benchmarks.resource_usage import Usage, run_measured
from benchmarks.synthetic_images import PHOTO_SIZES, write_image_files
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from data_prep.system.workers import available_cpus

RESIZE, QUALITY = ("--resize", "256"), ("--quality", "90")
PREPARE, DECODE, ENCODE = "smpl-data prepare", "Pillow: decode", "Pillow: decode, encode"


@dataclass(frozen=True)
class Place:
    """The input and output of a contender."""

    files: Path
    """The folder of the image files."""
    new: Path
    """An empty folder for output."""
    workers: int
    """Number of processes."""


Contender = Callable[[Place], list[str]]


def prepare_command(*options: str) -> Contender:
    """Return a contender that prepares a set from the files, with more options of ``smpl-data prepare``."""

    def command(place: Place) -> list[str]:
        new = tempfile.mkdtemp(dir=place.new)
        paths = ["--source", str(place.files), "--out", new]
        start = [sys.executable, "-c", "from data_prep.cli import main; main()", "prepare", "folder"]
        return [*start, *paths, "--exclude-labeled", "--workers", str(place.workers), *options]

    return command


def pillow_command(*options: str) -> Contender:
    """Return a contender that processes the files with Pillow alone."""

    def command(place: Place) -> list[str]:
        workers = str(place.workers)
        return [sys.executable, "-m", "benchmarks.pillow_baseline", str(place.files), "--workers", workers, *options]

    return command


WORKS: dict[str, dict[str, Contender]] = {
    "resize": {
        PREPARE: prepare_command(*RESIZE, *QUALITY),
        "Pillow: decode, resize, encode": pillow_command(*RESIZE, *QUALITY),
    },
    "keep": {PREPARE: prepare_command(), ENCODE: pillow_command(*QUALITY), DECODE: pillow_command()},
}


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--images", default="2000", metavar="N,...", help="Files of about 500x375; one run for each number.")
@click.option("--distinct", default=400, type=click.IntRange(1), help="Different files; the others are hard links.")
@click.option("--works", default=",".join(WORKS), help="resize: to 256 at quality 90; keep: the original bytes.")
@click.option("--workers", type=click.IntRange(1), help="Number of processes.  [default: the CPUs]")
@click.option("--repeats", default=3, type=click.IntRange(1), help="Turns; in each, every contender runs once.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write rows, machine, commit and command there.")
def main(
    images: str, distinct: int, works: str, workers: int | None, repeats: int, as_json: bool, out: Path | None
) -> None:
    """Time the preparation of image files beside Pillow alone, in turns, with the peak memory of all processes."""
    for work in works.split(","):
        if work not in WORKS:
            raise UsageError(f"--works: unknown work {work!r}; choose from {', '.join(WORKS)}")
    cases = product(_numbers(images), works.split(","))
    found = (measure(work, count, distinct, workers or available_cpus(), repeats) for count, work in cases)
    report_rows(chain.from_iterable(found), _line, as_json=as_json, out=out)


def measure(work: str, images: int, distinct: int, workers: int, repeats: int) -> list[dict[str, Any]]:
    """Return a row for each contender of a work, on the same files."""
    used: dict[str, list[Usage]] = {name: [] for name in WORKS[work]}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        write_image_files(files, images, PHOTO_SIZES, distinct=distinct)
        for repeat in range(repeats):
            for name in sorted(used, reverse=repeat % 2 == 0):  # the first one finds other caches
                with tempfile.TemporaryDirectory(dir=folder) as new:
                    used[name].append(run_measured(WORKS[work][name](Place(files, Path(new), workers))))
    return [{"work": work, "contender": name} | _row(images, usages, used[PREPARE]) for name, usages in used.items()]


def _row(images: int, usages: list[Usage], reference: list[Usage]) -> dict[str, Any]:
    """Return medians over the turns; ``prepare_ratio`` is the speed of preparation over this contender's."""
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
        raise UsageError(f"--images: {images!r}: expected numbers separated by commas, such as 2000,20000") from None


def _line(row: dict[str, Any]) -> str:
    low, high = row["spread"]
    speed = f"{row['images_per_s']:>7.1f} images/s ({low:.0f} to {high:.0f})   CPU {row['cpu_ms_per_image']:>6.2f} ms"
    rest = f"prepare is {row['prepare_ratio']:.2f} of it   peak {row['peak_mb']:>6.1f} MB"
    return f"{row['work']:<7} {row['images']:>6} {row['contender']:<31} {speed}   {rest}"
