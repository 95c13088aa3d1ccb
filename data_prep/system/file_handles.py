"""Files that threads read at random places, only so many of them open at a time in a process."""

import errno
import os
import resource
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import ClassVar
from weakref import ReferenceType, ref

LEAST = 8
PART = 8
"""Of the files that the process may open, all that are kept open together are one in so many."""
PLENTY = 1 << 16
TOO_MANY = {errno.EMFILE, errno.ENFILE}


@dataclass(frozen=True)
class _Descriptor:
    """Closed when nobody holds it any more: so a thread that still reads keeps it open after it was put out."""

    number: int

    def __del__(self) -> None:
        os.close(self.number)


class Descriptors:
    """N files, opened at their first read; the one opened longest ago is closed for a new one beyond the limits.

    One limit is of these N, the other of all files of all such objects in the process: an eighth of what it may open.

    Args:
        count: N.
        opener: opens file n and returns its descriptor; what it raises, :meth:`read` raises. Threads may call it for
            the same file at the same time.
        limit: of these N; left out, there is only the other one.
    """

    # Whose file of which number is open, in the order of opening.
    _everywhere: ClassVar[OrderedDict[tuple[int, int], "ReferenceType[Descriptors]"]] = OrderedDict()
    _lock: ClassVar[Lock] = Lock()

    def __init__(self, count: int, opener: Callable[[int], int], limit: int | None = None) -> None:
        self._opener = opener
        self._limit = limit or count
        self._files: list[_Descriptor | None] = [None] * count
        self._opened: OrderedDict[int, None] = OrderedDict()

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
            self._opened[number] = None
            self._everywhere[id(self), number] = ref(self)
            if len(self._opened) > self._limit:
                self._put_out(next(iter(self._opened)))
            while len(self._everywhere) > _most_open():
                self._put_out_oldest()
        return new

    def _put_out(self, number: int) -> None:
        self._files[number] = None
        del self._opened[number]
        self._everywhere.pop((id(self), number), None)

    @classmethod
    def _put_out_oldest(cls) -> None:
        (_, number), whose = cls._everywhere.popitem(last=False)
        owner = whose()
        if owner is not None and number in owner._opened:
            owner._put_out(number)


def _most_open() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return PLENTY if limit == resource.RLIM_INFINITY else max(LEAST, limit // PART)


def open_remedy(error: OSError, otherwise: str) -> str:
    """What helps where a file could not be opened: for most faults ``otherwise``."""
    if error.errno in TOO_MANY:
        return "allow more open files, such as by `ulimit -n 4096`, and run the same command again"
    return otherwise


def open_sized(path: Path, size: int) -> int:
    """Open a file for reading. Raises OSError, and ValueError if it has another size."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    found = os.fstat(descriptor).st_size
    if found != size:
        os.close(descriptor)
        raise ValueError(f"{found} bytes, {size} are expected")
    return descriptor
