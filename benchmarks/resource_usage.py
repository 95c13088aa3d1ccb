"""The time, processor time and memory that a command takes, together with the processes that it starts."""

import resource
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from data_prep.system.errors import UserError

INTERVAL_S = 0.1
"""Seconds between two readings of a command's memory."""


@dataclass(frozen=True)
class Usage:
    """The resources that a command took."""

    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    """Processor time of all its processes."""
    peak_bytes: int
    """The sum of the peak resident memory of each of its processes."""


def run_measured(command: Sequence[str]) -> Usage:
    """Run a command to its end. Raises UserError with the command's own error output if it fails."""
    before, started = _cpu_seconds_of_children(), time.perf_counter()
    peaks: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        while process.poll() is None:
            peaks |= {member.pid: _peak_bytes(member.pid) or peaks.get(member.pid, 0) for member in _tree(process.pid)}
            with suppress(subprocess.TimeoutExpired):
                process.wait(INTERVAL_S)
        seconds = time.perf_counter() - started
        _, errors = process.communicate()
    if process.returncode:
        raise UserError(f"{' '.join(command)} failed: {errors}")
    return Usage(seconds, _cpu_seconds_of_children() - before, sum(peaks.values()))


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its living descendants have taken so far."""
    total = 0.0
    for member in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system
    return total


def _tree(pid: int) -> list[psutil.Process]:
    """Return a process and its living descendants; nothing if the process has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _peak_bytes(pid: int) -> int:
    """Return the peak resident memory of a process, which psutil does not know; 0 if the process has ended."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
    return 0


def _cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
