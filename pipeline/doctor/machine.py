"""Checks of what this machine offers to a run: Python, processors, memory and open files."""

import importlib.util
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from data_prep.system import cgroup
from data_prep.system.workers import available_cpus
from pipeline.doctor.check import CheckOptions, CheckResult, Level

OLDEST, NEWEST = (3, 11), (3, 13)
"""The versions of Python that the package supports."""
GIB = 1 << 30
LOW_MEMORY = 2 * GIB
"""Free bytes of memory; torch and a small run need more."""
LOW_SHARED_MEMORY = GIB
"""Bytes of shared memory; several GPUs, and DALI, need more."""
FEW_FILES = 1024
"""Number of files open at a time; streams of many shards may need more."""
MEMINFO, SHARED, DEVICES = Path("/proc/meminfo"), Path("/dev/shm"), Path("/dev")  # noqa: S108


def python(_: CheckOptions) -> Iterator[CheckResult]:
    """Check the version of Python."""
    version = sys.version_info[:2]
    found = f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}"
    remedy = f"use Python {_dotted(OLDEST)} to {_dotted(NEWEST)}"
    if OLDEST <= version <= NEWEST:
        yield CheckResult("python", Level.OK, found)
    else:
        yield CheckResult("python", Level.FAILURE if version < OLDEST else Level.WARNING, found, remedy)


def cpus(_: CheckOptions) -> Iterator[CheckResult]:
    """Compare the number of threads that torch will start with the number of processors that this process may use."""
    allowed, quota, usable = len(os.sched_getaffinity(0)), cgroup.cpu_quota(), available_cpus()
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    threads = int(asked) if asked.isdecimal() and int(asked) else allowed
    limit = "" if quota is None else f", a quota of {quota:g}"
    found = (
        f"{usable} usable: {allowed} by affinity{limit}; {threads} threads ({'' if asked else 'no '}OMP_NUM_THREADS)"
    )
    if threads > usable:
        yield CheckResult(
            "cpus", Level.WARNING, found, f"set OMP_NUM_THREADS={usable}: more threads wait for each other"
        )
    else:
        yield CheckResult("cpus", Level.OK, found)


def memory(_: CheckOptions) -> Iterator[CheckResult]:
    """Check the free memory of the machine, or of the container if that has a limit."""
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    total, free = (1024 * int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    group = cgroup.memory()
    if group:
        free, total = min(free, max(0, group.limit - group.used)), min(total, group.limit)
    found = f"{_gib(free)} free of {_gib(total)}{', the limit of the container' if group else ''}"
    if free < LOW_MEMORY:
        yield CheckResult(
            "memory", Level.WARNING, found, f"end other programs, or raise the limit; a run needs {_gib(LOW_MEMORY)}"
        )
    else:
        yield CheckResult("memory", Level.OK, found)


def shared_memory(_: CheckOptions) -> Iterator[CheckResult]:
    """Check the size of the shared memory, through which NCCL and DALI exchange data."""
    name, remedy = "shared memory", "docker run --shm-size=8g; in a pod, mount an emptyDir of medium Memory on /dev/shm"
    try:
        size = shared_bytes()
    except OSError as error:
        yield CheckResult(name, Level.WARNING, f"{SHARED}: {error.strerror}", remedy)
        return
    found = f"{SHARED} holds {_gib(size)}"
    if size >= LOW_SHARED_MEMORY:
        yield CheckResult(name, Level.OK, found)
        return
    users = [f"{gpus()} GPUs"] * (gpus() > 1) + ["DALI"] * _has_dali()
    yield CheckResult(
        name,
        Level.WARNING if users else Level.NOTE,
        f"{found}; {' and '.join(users) or 'several GPUs'} need more",
        remedy,
    )


def open_files(_: CheckOptions) -> Iterator[CheckResult]:
    """Check how many files a process may hold open at a time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_files(soft)} at a time, at most {_files(hard)}"
    few = 0 <= soft < FEW_FILES
    remedy = f"ulimit -n {min(hard, 65536) if hard > soft else 65536}, or docker run --ulimit nofile=65536"
    yield CheckResult("open files", Level.WARNING, found, remedy) if few else CheckResult("open files", Level.OK, found)


def shared_bytes() -> int:
    """Return the whole size of the shared memory in bytes. Raises OSError if there is none."""
    state = os.statvfs(SHARED)
    return state.f_blocks * state.f_frsize


def gpus() -> int:
    """Return the number of NVIDIA GPUs that the operating system shows, which torch may be unable to use."""
    return len(list(DEVICES.glob("nvidia[0-9]*")))


def _has_dali() -> bool:
    with suppress(ModuleNotFoundError):
        return importlib.util.find_spec("nvidia.dali") is not None
    return False


def _files(count: int) -> str:
    return "any number" if count == resource.RLIM_INFINITY else str(count)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size >> 20} MiB"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
