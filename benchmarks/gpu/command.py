"""``python -m benchmarks.gpu``, ``make gpu``: run all tests and benchmarks of the GPU suite, in calls of some minutes.

A call runs the pieces that are not done yet until its minutes are used up; the same command continues. Results are in a
folder named after the commit, so that results of different code are never mixed.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import click
import psutil
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

logger = logging.getLogger(__name__)

SOURCES = ("benchmarks", "data_prep", "pipeline", "tests")
SETTINGS = ("pyproject.toml", "setup.cfg")
"""Folders and files whose contents name the version of code that is not committed."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--out", type=click.Path(path_type=Path), default="build/gpu", help="Folder of all results.")
@click.option("--data", type=LocalFolder(), help="Prepared CIFAR-10 with 4,000 labels; without it nothing is trained.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=9, help="Time limit of this call.")
@click.option("--only", help="Names of pieces, separated by commas; a name may be a pattern such as step-*.")
@click.option("--peer", type=click.Path(path_type=Path), help="A checkout of MPL-pytorch to compare with.")
@click.option("--list", "listing", is_flag=True, help="Show the pieces and run none.")
@click.option("--rehearse", is_flag=True, help="Run the same pieces at tiny sizes; a CPU is enough.")
def main(
    out: Path, data: Path | None, minutes: float, only: str | None, peer: Path | None, listing: bool, rehearse: bool
) -> int:
    """Run tests and benchmarks on a GPU, as many as end within --minutes; the same command continues.

    Exits with 0 if all are done, 4 if some are left, 1 if one failed, 3 if --data is damaged.
    """
    size = REHEARSAL if rehearse else FULL
    folder = out.resolve() / (f"rehearsal-{code_version()}" if rehearse else code_version())
    if data:
        load_manifest(data)
    pieces = select_pieces(list_pieces(size, folder, data, peer), only)
    if listing:
        _show(pieces, folder)
        return 0
    if not (rehearse or torch.cuda.is_available()):
        raise UsageError("there is no GPU that torch can use; --rehearse runs the suite at tiny sizes on a CPU")
    make_folder(folder)
    with locked(folder / ".lock", wait=False):
        summary = run_pieces(pieces, folder, minutes, logger.info, seconds_since_start())
        click.echo(write_tables(folder))
    for line in summary.lines():
        click.echo(line)
    click.echo(f"results: {folder}")
    return summary.exit_code


def select_pieces(pieces: Sequence[Piece], only: str | None) -> list[Piece]:
    """Return the pieces whose names match ``only``, in order. Raises UsageError for a pattern that matches none."""
    if only is None:
        return list(pieces)
    patterns = only.split(",")
    for pattern in patterns:
        if not any(fnmatch(piece.name, pattern) for piece in pieces):
            raise UsageError(f"--only: {_no_match(pattern, [piece.name for piece in pieces])}")
    return [piece for piece in pieces if any(fnmatch(piece.name, pattern) for pattern in patterns)]


def code_version() -> str:
    """Return a name for this version of the code: the commit, and a hash of the sources if they differ from it."""
    name = commit()
    if name and not name.endswith("+"):
        return name
    digest = hashlib.sha256()
    found = [path for folder in SOURCES for kind in ("*.py", "*.yaml") for path in (ROOT / folder).rglob(kind)]
    for path in sorted([*found, *(ROOT / name for name in SETTINGS)]):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return f"{name or ''}{digest.hexdigest()[:12]}"


def seconds_since_start() -> float:
    """Return the seconds since this process started, since importing torch alone may take many."""
    return time.time() - psutil.Process().create_time()


def _no_match(pattern: str, names: Sequence[str]) -> str:
    """Return why no piece's name matches the pattern."""
    needed = sorted({option for name, option in OPTIONS.items() if fnmatch(name, pattern)})
    return f"{pattern} needs {needed[0]}" if needed else f"unknown piece {pattern!r}: {nearest(pattern, names)}"


def _show(pieces: Sequence[Piece], folder: Path) -> None:
    for piece in pieces:
        state = "done" if piece.done(folder) else "failed" if piece.failed(folder) else "left"
        click.echo(f"{piece.name:<28} {state:<7} {piece.minutes:>5g} min  python {' '.join(piece.arguments)}")
