"""Limits of the kernel's control groups: in a container a process may often use less than the machine has."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNLIMITED = 1 << 60
"""Bytes; version 1 of the control groups writes a number near 2**63 for no limit."""


class Memory(NamedTuple):
    """The memory of a control group."""

    limit: int
    """Bytes."""
    used: int
    """Bytes, without the cached files that the kernel drops when memory is needed."""


def cpu_quota() -> float | None:
    """Return the number of CPUs that this process's groups may use on average, or None if there is no quota."""
    quotas = [quota for folder in _folders("cpu") if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def memory() -> Memory | None:
    """Return the memory of the group with the least left below its limit, or None if no group has a limit."""
    limits = [found for folder in _folders("memory") if (found := _memory(folder)) is not None]
    return min(limits, key=lambda found: found.limit - found.used, default=None)


def _quota(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    words = words or [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
    with suppress(ValueError, IndexError, ZeroDivisionError):
        return int(words[0]) / int(words[1]) if int(words[0]) > 0 else None
    return None


def _memory(folder: Path) -> Memory | None:
    with suppress(ValueError):
        limit = int(_read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes"))
        used = int(_read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes"))
        lines = [line.split() for line in _read(folder / "memory.stat").splitlines()]
        kept = {words[0]: int(words[1]) for words in lines if len(words) == 2}
        files = kept.get("total_inactive_file", kept.get("inactive_file", 0))
        return Memory(limit, max(0, used - files)) if limit < UNLIMITED else None
    return None


def _folders(controller: str) -> Iterator[Path]:
    """Yield the visible folders of this process's group and of its parents, in version 1 or 2 of the control groups."""
    for line in _read(OWN).splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        base = ROOT / controller if names else ROOT
        own = base / path.strip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(base) and folder.is_dir())


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
