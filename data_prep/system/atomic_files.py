"""Files that have their final name only when they are complete, and lock files that keep two writers apart.

The locks are our own use of flock: filelock has no shared mode on one file, polls instead of waiting in the kernel, and
leaves the lock files behind.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from data_prep.system.errors import DataError, UsageError

PARTIAL = ".partial"
"""The suffix of a file that is not complete."""


def cannot_write(path: Path, error: OSError) -> DataError:
    """Return the error for a full disk, a read-only folder or a missing permission."""
    reason = error.strerror or str(error)
    return DataError(f"cannot write {path}: {reason}; free space or grant access there, or choose another folder")


def make_folder(path: Path) -> None:
    """Create the folder and its parents. Raises DataError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from None


def write_durably(path: Path, data: bytes) -> None:
    """Write a whole file as :func:`open_durably` does. Raises DataError."""
    with open_durably(path) as file:
        file.write(data)


@contextmanager
def open_durably(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing under a partial name; when the ``with`` statement ends, fsync it and give it its name.

    If the body of the statement raises, nothing is left behind. Raises DataError if the file cannot be written.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        _remove(partial)
        raise cannot_write(path, error) from None
    except BaseException:
        _remove(partial)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def append_durably(path: Path, line: str) -> None:
    """Append one line and fsync it; a crash can damage only this last line. Raises DataError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from None


def fsync_folder(folder: Path) -> None:
    """Make the renames and removals in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[None]:
    """Hold the lock file ``path``, which the kernel frees if its holder dies.

    Args:
        path: the lock file; it is created, and removed after an exclusive use.
        wait: whether to wait for another holder.
        shared: whether to share the lock with other holders that share it.

    Raises:
        DataError: the lock file cannot be created.
        UsageError: another process holds the lock, and ``wait`` is False.
    """
    descriptor = _acquire(path, (0 if wait else fcntl.LOCK_NB) | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))
    try:
        yield
    finally:
        if not shared:  # others may still hold a shared lock
            _remove(path)
        os.close(descriptor)


def _acquire(path: Path, operation: int) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise cannot_write(path, error) from None
        try:
            fcntl.flock(descriptor, operation)
            # The former holder removes the file at its release: then this is a lock that nobody else can see.
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(
                f"{path.parent}: another process is at work there; wait, or choose another folder"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
