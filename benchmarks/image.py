"""``smpl bench image``: the size of each layer of the container image, and the time to build it again."""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.record import save_record
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError

BUILDERS = ("--mount", "file:", "dir:", "VARIANT=", "|")
UNITS = {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3, "TB": 1e6}
SOURCE = Path(__file__).parents[1]


@click.command(cls=Command)
@click.option("--engine", default="docker", show_default=True, help="docker or podman.")
@click.option("--image", default="smpl-train", show_default=True, help="The image that was built from this tree.")
@click.option("--build-arg", "build_arguments", multiple=True, metavar="NAME=VALUE", help="As given to that build.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result to this file as JSON.")
def main(engine: str, image: str, build_arguments: tuple[str, ...], out: Path | None) -> None:
    """Print the size of the image's layers; then change a line of the source and time the build."""
    rows = layers(engine, image)
    for row in rows:
        click.echo(f"{row['megabytes']:9.1f} MB  {row['layer']}")
    click.echo(f"{sum(row['megabytes'] for row in rows):9.1f} MB  in total")
    seconds = rebuild(engine, image, build_arguments)
    click.echo(f"{seconds:9.1f} s   to build it again after a change of the source")
    if out:
        save_record(out, [*rows, {"rebuild_seconds": round(seconds, 1)}])


def layers(engine: str, image: str) -> list[dict[str, Any]]:
    """Return ``layer`` and ``megabytes`` (1e6 bytes, unpacked) of each layer that has files, from the base up."""
    table = _run(engine, "history", "--no-trunc", "--format", "{{.Size}}\t{{.CreatedBy}}", image)
    rows = [line.split("\t", 1) for line in reversed(table.splitlines())]
    weighed = [{"layer": _name(text), "megabytes": _megabytes(size)} for size, text in rows]
    return [row for row in weighed if row["megabytes"]]


def rebuild(engine: str, image: str, build_arguments: tuple[str, ...]) -> float:
    """Return the seconds of a build, with the builder's caches, after a change of one line of ``pipeline``."""
    arguments = [word for argument in build_arguments for word in ("--build-arg", argument)]
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "source"
        _run("git", "-C", str(SOURCE), "checkout-index", "--all", f"--prefix={changed}/")
        with (changed / "pipeline" / "cli.py").open("a") as file:
            file.write(f"\n# changed at {time.time()}\n")
        started = time.perf_counter()
        _run(engine, "build", *arguments, "--tag", f"{image}-changed", str(changed))
        seconds = time.perf_counter() - started
    _run(engine, "rmi", f"{image}-changed")
    return seconds


def _megabytes(size: str) -> float:
    """Read a size as docker and podman write it: ``5.97GB``, ``3.6 kB``."""
    number, unit = re.findall(r"[\d.]+|[kMGT]?B", size)
    return round(float(number) * UNITS[unit], 1)


def _name(text: str) -> str:
    """Return the command that made a layer, without the text that the builder adds."""
    words = text.rsplit("#(nop)", maxsplit=1)[-1].replace("/bin/sh -c", "").split()
    return " ".join(word for word in words if not word.startswith(BUILDERS))[:100]


def _run(engine: str, *arguments: str) -> str:
    if not shutil.which(engine):
        raise UsageError(f"--engine {engine}: there is no such program; name docker or podman")
    done = subprocess.run([engine, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise UsageError(f"{engine} {arguments[0]}: {' '.join(last) or 'failed'}")
    return done.stdout
