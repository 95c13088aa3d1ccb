"""Python, processors, memory and descriptors: what the operating system gives to a run."""

import importlib.util
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from data_prep.system import cgroup
from data_prep.system.workers import available_cpus
from pipeline.doctor.finding import Finding, Level, Request

OLDEST, NEWEST = (3, 11), (3, 13)
GIB = 1 << 30
LITTLE_MEMORY = 2 * GIB
"""Less than what torch and a small run need."""
LITTLE_SHARED = GIB
FEW_FILES = 1024
MEMINFO, SHARED, DEVICES = Path("/proc/meminfo"), Path("/dev/shm"), Path("/dev")  # noqa: S108


def python(_: Request) -> Iterator[Finding]:
    here = sys.version_info[:2]
    found = f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}"
    wanted = f"use Python {_dotted(OLDEST)} to {_dotted(NEWEST)}"
    if OLDEST <= here <= NEWEST:
        yield Finding("python", Level.OK, found)
    else:
        yield Finding("python", Level.FAILURE if here < OLDEST else Level.WARNING, found, wanted)


def cpus(_: Request) -> Iterator[Finding]:
    """Compare the threads that torch will start with the processors that it will really have."""
    allowed, quota, usable = len(os.sched_getaffinity(0)), cgroup.cpu_quota(), available_cpus()
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    threads = int(asked) if asked.isdecimal() and int(asked) else allowed
    limit = "" if quota is None else f", a quota of {quota:g}"
    found = (
        f"{usable} usable: {allowed} by affinity{limit}; {threads} threads ({'' if asked else 'no '}OMP_NUM_THREADS)"
    )
    if threads > usable:
        yield Finding("cpus", Level.WARNING, found, f"set OMP_NUM_THREADS={usable}: more threads wait for each other")
    else:
        yield Finding("cpus", Level.OK, found)


def memory(_: Request) -> Iterator[Finding]:
    words = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    total, free = (1024 * int(words[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    group = cgroup.memory()
    if group:
        free, total = min(free, max(0, group.limit - group.used)), min(total, group.limit)
    found = f"{_gib(free)} free of {_gib(total)}{', by the limit of the container' if group else ''}"
    if free < LITTLE_MEMORY:
        yield Finding("memory", Level.WARNING, found, f"end other programs, or raise the limit: {_gib(LITTLE_MEMORY)}")
    else:
        yield Finding("memory", Level.OK, found)


def shared_memory(_: Request) -> Iterator[Finding]:
    """Look at what NCCL and DALI exchange data through."""
    name, remedy = "shared memory", "docker run --shm-size=8g; in a pod an emptyDir of medium Memory on /dev/shm"
    try:
        size = shared_bytes()
    except OSError as error:
        yield Finding(name, Level.WARNING, f"{SHARED}: {error.strerror}", remedy)
        return
    found = f"{SHARED} holds {_gib(size)}"
    if size >= LITTLE_SHARED:
        yield Finding(name, Level.OK, found)
        return
    users = [f"{gpus()} GPUs"] * (gpus() > 1) + ["DALI"] * _has_dali()
    yield Finding(
        name,
        Level.WARNING if users else Level.NOTE,
        f"{found}; {' and '.join(users) or 'several GPUs'} need more",
        remedy,
    )


def open_files(_: Request) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_files(soft)} at a time, at most {_files(hard)}"
    few = 0 <= soft < FEW_FILES
    remedy = f"ulimit -n {min(hard, 65536) if hard > soft else 65536}, or docker run --ulimit nofile=65536"
    yield Finding("open files", Level.WARNING, found, remedy) if few else Finding("open files", Level.OK, found)


def shared_bytes() -> int:
    """Return the size of the shared memory, free or not. Raises OSError if there is none."""
    state = os.statvfs(SHARED)
    return state.f_blocks * state.f_frsize


def gpus() -> int:
    """Return how many GPUs of NVIDIA the operating system shows; torch is not asked."""
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
