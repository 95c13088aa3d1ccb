"""Files that threads read at random places, only so many of them open at a time."""

import os
import resource
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

LEAST = 64


@dataclass(frozen=True)
class _Descriptor:
    """Closed when nobody holds it any more: so a thread that still reads keeps it open after it was put out."""

    number: int

    def __del__(self) -> None:
        os.close(self.number)


class Descriptors:
    """N files, opened at their first read; the one opened longest ago is closed for a new one beyond the limit.

    Args:
        count: N.
        opener: opens file n and returns its descriptor; what it raises, :meth:`read` raises. Threads may call it for
            the same file at the same time.
        limit: files open at a time; left out, an eighth of what the process may open.
    """

    def __init__(self, count: int, opener: Callable[[int], int], limit: int | None = None) -> None:
        self._opener = opener
        self._limit = limit or max(LEAST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)
        self._files: list[_Descriptor | None] = [None] * count
        self._opened: deque[int] = deque()
        self._lock = Lock()

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Read from file ``number``; fewer bytes at its end. Raises OSError, or what the opener raises."""
        file = self._files[number] or self._open(number)
        return os.pread(file.number, size, offset)

    def _open(self, number: int) -> _Descriptor:
        new = _Descriptor(self._opener(number))
        with self._lock:
            if (other := self._files[number]) is not None:
                return other
            self._files[number] = new
            self._opened.append(number)
            if len(self._opened) > self._limit:
                self._files[self._opened.popleft()] = None
        return new


def open_sized(path: Path, size: int) -> int:
    """Open a file for reading. Raises OSError, and ValueError if it has another size."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    found = os.fstat(descriptor).st_size
    if found != size:
        os.close(descriptor)
        raise ValueError(f"{found} bytes, {size} are expected")
    return descriptor
