"""Space for shards in a cache of limited size, from which the least recently used shards are removed first.

The access time of a file says when it was last used; it is set explicitly, because many file systems do not set it. The
time of change is left as it is, because verified files are recognized by it. A shard that is being downloaded counts
with its full size from the start, because its partial file is made that large.
"""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data_prep.system.atomic_files import PARTIAL, cannot_write, locked
from data_prep.system.errors import DataError, UsageError

VARIABLE = "SMPL_CACHE_BYTES"
DEFAULT_BYTES = "50G"
LOCK = ".lock"
WAIT_SECONDS = 0.1
"""Seconds between two attempts to find space that other processes may free."""

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?(?:([KMGT])(i?))?B?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, order=True)
class _Entry:
    used_ns: int
    path: Path
    size: int


def parse_bytes(text: str) -> int:
    """Return the number of bytes that a text states. Raises ValueError.

    The text is such as 1000000, 500M or 1.5TB, in powers of 1000, or 20Gi, in powers of 1024.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a number of bytes such as {DEFAULT_BYTES}")
    power = 1 + "KMGT".index(match[2].upper()) if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def cache_limit() -> int:
    """Return the most bytes that all mirrors may take together: ``$SMPL_CACHE_BYTES``, or 50 GB. Raises UsageError."""
    try:
        return parse_bytes(os.environ.get(VARIABLE) or DEFAULT_BYTES)
    except ValueError as error:
        raise UsageError(f"${VARIABLE}: {error}") from None


def mark_used(path: Path) -> bool:
    """Record that a file is used now; return False if it is not there."""
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return False
    with suppress(OSError):  # the cache may be read-only here, or belong to another user
        os.utime(path, ns=(time.time_ns(), changed))
    return True


def lock_path(path: Path) -> Path:
    """Return the lock file that is held while a shard is downloaded or opened, so that it is not removed then."""
    return path.with_name(f".{path.name}.lock")


def reserve_space(path: Path, size: int) -> Path:
    """Free space for a shard in the cache and return its partial file, which is made as large as the shard.

    Wait for shards that other processes are downloading. Raises UsageError if the shard is larger than the cache may
    be, DataError on a full disk.
    """
    limit = cache_limit()
    if size > limit:
        raise UsageError(f"{path.name} has {size} bytes, ${VARIABLE} allows {limit}: set it to the size of many shards")
    partial = path.with_name(path.name + PARTIAL)
    root = path.parent.parent
    while True:
        with locked(root / LOCK):
            if _evict(root, limit - size):
                _allocate(partial, size)
                return partial
        time.sleep(WAIT_SECONDS)


def _evict(root: Path, allowed: int) -> bool:
    """Remove shards until the rest takes at most ``allowed`` bytes; return False if other processes hold too many."""
    total = sum(entry.size for entry in _entries(root, f"*.tar{PARTIAL}") if not _remove(entry.path))
    shards = _entries(root, "*.tar")
    total += sum(entry.size for entry in shards)
    for entry in sorted(shards):
        if total <= allowed:
            break
        if _remove(entry.path):
            total -= entry.size
    return total <= allowed


def _entries(root: Path, pattern: str) -> list[_Entry]:
    found = []
    for path in root.glob(f"*/{pattern}"):
        with suppress(OSError):  # another process has just renamed or removed the file
            state = path.stat()
            found.append(_Entry(state.st_atime_ns, path, state.st_size))
    return found


def _remove(path: Path) -> bool:
    """Remove a shard or the partial file of a killed process; return False while another process holds its lock."""
    shard = path.with_name(path.name.removesuffix(PARTIAL))
    with suppress(UsageError, DataError), locked(lock_path(shard), wait=False):
        path.unlink(missing_ok=True)
        return True
    return False


def _allocate(partial: Path, size: int) -> None:
    try:
        with partial.open("wb") as file:
            file.truncate(size)
    except OSError as error:
        raise cannot_write(partial, error) from None
