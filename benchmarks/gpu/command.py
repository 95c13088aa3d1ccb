"""``python -m benchmarks.gpu``, ``make gpu``: all that is to be measured and tested on a GPU, in calls of some minutes.

A call runs what is not done yet, as long as its minutes last. Results stand in a folder named after the commit, so that
those of another are never taken for this one's; the same command goes on.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import click
import torch

from benchmarks.gpu.piece import Piece
from benchmarks.gpu.pieces import FULL, OPTIONS, REHEARSAL, list_pieces
from benchmarks.gpu.runner import ROOT, run_pieces
from benchmarks.gpu.targets import write_tables
from benchmarks.record import commit
from data_prep.cli_types import LocalFolder
from data_prep.dataset.manifest import load_manifest
from data_prep.system.atomic_files import locked, make_folder
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from pipeline.registry import nearest

SOURCES = ("benchmarks", "data_prep", "pipeline", "tests")
SETTINGS = ("pyproject.toml", "setup.cfg")


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--out", type=click.Path(path_type=Path), default="build/gpu", help="Folder of all results.")
@click.option("--data", type=LocalFolder(), help="The prepared CIFAR-10 with 4,000 labels; without it none is trained.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=9, help="Of this call, from its start.")
@click.option("--only", help="Pieces, separated by commas; step-* is all that begin so.")
@click.option("--peer", type=click.Path(path_type=Path), help="A checkout of MPL-pytorch to compare with.")
@click.option("--list", "listing", is_flag=True, help="Show the pieces and run none.")
@click.option("--rehearse", is_flag=True, help="The same pieces at tiny sizes, on a CPU too.")
def main(
    out: Path, data: Path | None, minutes: float, only: str | None, peer: Path | None, listing: bool, rehearse: bool
) -> int:
    """Run tests and measurements on a GPU, as many as end within --minutes; the same command goes on.

    Exits 0 if all are done, 4 if some are left, 1 if one failed, 3 if --data is damaged.
    """
    size = REHEARSAL if rehearse else FULL
    folder = out.resolve() / (f"rehearsal-{edition()}" if rehearse else edition())
    if data:
        load_manifest(data)
    pieces = chosen(list_pieces(size, folder, data, peer), only)
    if listing:
        _show(pieces, folder)
        return 0
    if not (rehearse or torch.cuda.is_available()):
        raise UsageError("there is no GPU that torch can use; --rehearse tries the suite at tiny sizes on a CPU")
    make_folder(folder)
    with locked(folder / ".lock", wait=False):
        tally = run_pieces(pieces, folder, minutes, click.echo, seconds_gone())
        click.echo(write_tables(folder))
    for line in tally.lines():
        click.echo(line)
    click.echo(f"results: {folder}")
    return tally.exit_code


def chosen(pieces: Sequence[Piece], only: str | None) -> list[Piece]:
    """Return the pieces that ``only`` names, in their order. Raises UsageError for a name that none has."""
    if only is None:
        return list(pieces)
    patterns = only.split(",")
    for pattern in patterns:
        if not any(fnmatch(piece.name, pattern) for piece in pieces):
            raise UsageError(f"--only: {_why_none(pattern, [piece.name for piece in pieces])}")
    return [piece for piece in pieces if any(fnmatch(piece.name, pattern) for pattern in patterns)]


def edition() -> str:
    """Return a name of the code that is here: the commit, and a hash of the sources where they are not the commit's."""
    name = commit()
    if name and not name.endswith("+"):
        return name
    digest = hashlib.sha256()
    found = [path for folder in SOURCES for kind in ("*.py", "*.yaml") for path in (ROOT / folder).rglob(kind)]
    for path in sorted([*found, *(ROOT / name for name in SETTINGS)]):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return f"{name or ''}{digest.hexdigest()[:12]}"


def seconds_gone() -> float:
    """Return the seconds since this process began: to import torch may take many. Source: proc(5), the 22nd field."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _why_none(pattern: str, names: Sequence[str]) -> str:
    """Return why no piece has a name like the pattern."""
    needed = sorted({option for name, option in OPTIONS.items() if fnmatch(name, pattern)})
    return f"{pattern} needs {needed[0]}" if needed else f"unknown piece {pattern!r}: {nearest(pattern, names)}"


def _show(pieces: Sequence[Piece], folder: Path) -> None:
    for piece in pieces:
        state = "done" if piece.done(folder) else "failed" if piece.failed(folder) else "left"
        click.echo(f"{piece.name:<28} {state:<7} {piece.minutes:>5g} min  python {' '.join(piece.words)}")
