"""What a process takes together with those that it starts, from Linux's ``/proc``."""

import os
import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data_prep.system.errors import UserError

INTERVAL_S = 0.1
"""Between two looks at the memory of a command."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What a command took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """The largest resident memory of each of its processes, added up."""


def run_measured(command: Sequence[str]) -> Usage:
    """Run a command to its end. Raises UserError with its own words if it fails."""
    before, started = _of_children(), time.perf_counter()
    peaks: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        while process.poll() is None:
            peaks |= {pid: _peak(pid) or peaks.get(pid, 0) for pid in family(process.pid)}
            with suppress(subprocess.TimeoutExpired):
                process.wait(INTERVAL_S)
        seconds = time.perf_counter() - started
        _, complaint = process.communicate()
    if process.returncode:
        raise UserError(f"{' '.join(command)} failed: {complaint}")
    return Usage(seconds, _of_children() - before, sum(peaks.values()))


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its living descendants have taken so far."""
    return sum(_ticks(member) for member in family(pid)) / TICKS


def family(pid: int) -> Iterator[int]:
    """Yield a process and its living descendants."""
    yield pid
    with suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in _read(children).split():
                yield from family(int(child))


def _peak(pid: int) -> int:
    """Return the largest resident memory that a process ever had, in bytes; 0 if it is gone."""
    lines = _read(Path(f"/proc/{pid}/status")).splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def _ticks(pid: int) -> int:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()  # the name before it may hold spaces
    return sum(map(int, fields[11:13]))


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _read(path: Path) -> str:
    """Return the text; empty if the process is gone."""
    with suppress(OSError):
        return path.read_text()
    return ""
