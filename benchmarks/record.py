"""Print the rows of a benchmark, and save them with the machine, versions, commit and command that made them."""

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from data_prep.system.atomic_files import write_durably
from data_prep.system.version import commit


def report_rows(
    rows: Iterable[dict[str, Any]], line: Callable[[dict[str, Any]], str], *, as_json: bool, out: Path | None
) -> None:
    """Print a line for each row as soon as it is measured, or all rows as JSON at the end; save them to ``out``."""
    measured = []
    for row in rows:
        measured.append(row)
        if not as_json:
            click.echo(line(row))
    if as_json:
        click.echo(json.dumps(measured, indent=2))
    if out:
        save_record(out, measured)


def save_record(path: Path, rows: Sequence[dict[str, Any]], facts: Mapping[str, Any] | None = None) -> None:
    """Write rows with command, commit and machine as JSON; ``facts`` are added to these or replace them."""
    record = {
        "command": " ".join([_program(), *sys.argv[1:]]),
        "commit": commit(),
        "machine": machine(),
        **(facts or {}),
        "rows": list(rows),
    }
    write_durably(path, (json.dumps(record, indent=2) + "\n").encode())


def machine() -> dict[str, Any]:
    """Return the hardware and the versions that a result depends on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _program() -> str:
    """Return the program that was run: ``smpl``, or a module of the benchmarks."""
    spec = sys.modules["__main__"].__spec__
    return (
        f"python -m {spec.name.removesuffix('.__main__')}" if spec and spec.name.startswith("benchmarks.") else "smpl"
    )


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
