"""``python -m benchmarks.gpu``, ``make gpu``: test, measure and train on one GPU, within some minutes."""

import logging
import time
from pathlib import Path

import click
import psutil
import torch

from benchmarks.gpu.packages import NEEDS, SETTINGS, ready
from benchmarks.gpu.parts import FULL, REHEARSAL, Part, list_parts
from benchmarks.gpu.runner import CUT, FAILED, run_part
from data_prep.cli_types import LocalFolder
from data_prep.dataset.manifest import has_manifest, load_manifest
from data_prep.system.atomic_files import make_folder
from data_prep.system.cli import STOPPED, Command
from data_prep.system.errors import UsageError

logger = logging.getLogger(__name__)
END_S = 5.0
"""Seconds of the time limit that are kept for the end of this process."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=13, help="Time limit of the whole call.")
@click.option("--only", multiple=True, type=click.Choice(list(NEEDS)), help="Run this part; may be repeated.")
@click.option(
    "--data", type=LocalFolder(), default="data/cifar10-4000-seed0", help="Prepared CIFAR-10 with 4,000 labels."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of results.  [default: benchmarks/results]")
@click.option("--work", type=click.Path(path_type=Path), default="build/gpu", help="Folder of run folders and logs.")
@click.option("--commit", help="Commit of this checkout, for the results.  [default: what git says]")
@click.option("--rehearse", is_flag=True, help="Run all parts at tiny sizes on a CPU, with results in --work.")
def main(
    minutes: float, only: tuple[str, ...], data: Path, out: Path | None, work: Path, commit: str | None, rehearse: bool
) -> int:
    """Run tests, measure steps and train twice on one GPU, in this order, for --minutes in all.

    Each part writes OUT/gpu-PART.json while it runs. Exits with 0 if all are done, 4 if some were cut or left out, 1 if
    one failed.
    """
    deadline = time.monotonic() + 60 * minutes - END_S - (time.time() - psutil.Process().create_time())
    if not SETTINGS.exists():
        raise UsageError(f"there is no {SETTINGS}; run the suite in a checkout of the project")
    if not (rehearse or torch.cuda.is_available()):
        raise UsageError("there is no GPU that torch can use; --rehearse runs the suite at tiny sizes on a CPU")
    results = out or (work if rehearse else Path("benchmarks/results"))
    make_folder(results)
    if has_manifest(data):
        load_manifest(data)
    endings = []
    for part in list_parts(REHEARSAL if rehearse else FULL, data.resolve()):
        if part.name in (only or NEEDS):
            reason = why_not(part, deadline - time.monotonic())
            path = results / f"gpu-{part.name}.json"
            endings.append(CUT if reason else run_part(part, work.resolve() / part.name, path, deadline, commit))
            logger.info("%s: %s", part.name, reason or endings[-1])
    click.echo(f"results: {results}/gpu-*.json; logs and runs: {work}")
    return 1 if FAILED in endings else STOPPED if CUT in endings else 0


def why_not(part: Part, seconds: float) -> str:
    """Return why a part cannot run in the seconds that are left, or an empty text."""
    if not ready(part.name):
        return "left out, because packages are missing"
    if part.data and not has_manifest(part.data):
        return f"left out, because there is no {part.data}; docs/gpu.md says how to bring it"
    if seconds < part.least:
        return f"left out, because it needs {part.least:g} seconds and {max(0.0, seconds):.0f} remain"
    return ""
