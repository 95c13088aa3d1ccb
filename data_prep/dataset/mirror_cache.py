"""Room for shards in a bounded cache: the least recently used go first.

A file's time of access says when it was used; it is set at each use, since many file systems do not. Its time of change
stays: by that it is known to be checked. A shard on its way counts from its start, by a partial file of its full size.
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

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?(?:([KMGT])(i?))?B?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, order=True)
class _Entry:
    used_ns: int
    path: Path
    size: int


def parse_bytes(text: str) -> int:
    """Bytes of 1000000, 500M, 20G or 1.5TB, in powers of 1000, or of 1024 as 20Gi. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no number of bytes such as {DEFAULT_BYTES}")
    power = 1 + "KMGT".index(match[2].upper()) if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def cache_bound() -> int:
    """``$SMPL_CACHE_BYTES``, or 50 GB. Raises UsageError."""
    try:
        return parse_bytes(os.environ.get(VARIABLE) or DEFAULT_BYTES)
    except ValueError as error:
        raise UsageError(f"${VARIABLE}: {error}") from None


def touch(path: Path) -> bool:
    """Note that a file is used now; False if it is not there."""
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return False
    with suppress(OSError):  # a cache that is read-only here, or belongs to somebody else
        os.utime(path, ns=(time.time_ns(), changed))
    return True


def lock_of(path: Path) -> Path:
    """The lock that is held while this file is on its way, or is opened: it is not removed then."""
    return path.with_name(f".{path.name}.lock")


def reserve(path: Path, size: int) -> Path:
    """Make room for a shard among all mirrored sets and return its partial file, which has the full size.

    Shards of others on their way are waited for. Raises UsageError if it can never fit, DataError on a full disk.
    """
    bound = cache_bound()
    if size > bound:
        raise UsageError(f"{path.name} has {size} bytes, ${VARIABLE} allows {bound}: set it to the size of many shards")
    partial = path.with_name(path.name + PARTIAL)
    root = path.parent.parent
    while True:
        with locked(root / LOCK):
            if _make_room(root, bound - size):
                _allocate(partial, size)
                return partial
        time.sleep(WAIT_SECONDS)


def _make_room(root: Path, allowed: int) -> bool:
    """Remove shards until the rest takes no more than ``allowed`` bytes; False if that must wait for others."""
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
        with suppress(OSError):  # another process has just renamed or removed it
            state = path.stat()
            found.append(_Entry(state.st_atime_ns, path, state.st_size))
    return found


def _remove(path: Path) -> bool:
    """Remove a shard, or what a killed process has left of one; False while somebody holds its lock."""
    shard = path.with_name(path.name.removesuffix(PARTIAL))
    with suppress(UsageError, DataError), locked(lock_of(shard), wait=False):
        path.unlink(missing_ok=True)
        return True
    return False


def _allocate(partial: Path, size: int) -> None:
    try:
        with partial.open("wb") as file:
            file.truncate(size)
    except OSError as error:
        raise cannot_write(partial, error) from None
