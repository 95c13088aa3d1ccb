"""Files that threads read at random positions, with a bounded number of them open at a time."""

import errno
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MIN_OPEN = 8
"""Each :class:`OpenFiles` may keep at least this number of files open."""
SHARE = 16
"""Each :class:`OpenFiles` keeps at most 1/16 of the number of files open that the process may have open."""
MAX_LIMIT = 1 << 16
"""The process's limit is not raised beyond this number of open files."""


@dataclass(frozen=True)
class _Handle:
    """A file descriptor that is closed with its last reference, so a thread that still reads keeps the file open."""

    descriptor: int

    def __del__(self) -> None:
        os.close(self.descriptor)


class OpenFiles:
    """Numbered files that are opened at their first read; beyond the limit the least recently used one is closed.

    Args:
        opener: opens a file by its number and returns its descriptor. :meth:`read` raises what it raises. Several
            threads may call it for the same file at the same time.
        limit: the number of files that stay open; if left out, a sixteenth of what the process may open.
    """

    def __init__(self, opener: Callable[[int], int], limit: int | None = None) -> None:
        self._open = lru_cache(limit or max(MIN_OPEN, raise_limit() // SHARE))(lambda number: _Handle(opener(number)))

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Read ``size`` bytes at ``offset`` of a file; fewer at its end. Raises OSError, or what the opener raises."""
        handle = self._open(number)
        return os.pread(handle.descriptor, size, offset)


def raise_limit() -> int:
    """Raise this process's soft limit of open files to its hard one, up to MAX_LIMIT; never lower it.

    Returns:
        The number of files that may be open now, at most MAX_LIMIT.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_LIMIT if hard == resource.RLIM_INFINITY else min(hard, MAX_LIMIT)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def open_remedy(error: OSError, otherwise: str) -> str:
    """Return the remedy for a file that could not be opened: a higher limit if that helps, else ``otherwise``."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return "allow more open files, such as by `ulimit -n 65536`, and run the same command again"
    return otherwise


def open_sized(path: Path, size: int) -> int:
    """Open a file for reading and return its descriptor. Raises OSError, and ValueError if it has another size."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    found = os.fstat(descriptor).st_size
    if found != size:
        os.close(descriptor)
        raise ValueError(f"{found} bytes, {size} are expected")
    return descriptor
