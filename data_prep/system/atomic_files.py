"""Files that stand whole under their final name or not at all, and the lock that keeps two writers apart."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from data_prep.system.errors import DataError, UsageError

PARTIAL = ".partial"


def cannot_write(path: Path, error: OSError) -> DataError:
    """The one line for a full disk, a read-only folder or a missing right."""
    reason = error.strerror or str(error)
    return DataError(f"cannot write {path}: {reason}; make room or rights there, or choose another folder")


def make_folder(path: Path) -> None:
    """Create the folder and its parents. Raises DataError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from None


def write_durably(path: Path, data: bytes) -> None:
    """Write under a partial name, fsync, rename, fsync the folder. Raises DataError and leaves nothing behind."""
    with written_durably(path) as file:
        file.write(data)


@contextmanager
def written_durably(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, which stands under its name once the block has ended well.

    Raises DataError if it cannot be written, and leaves nothing behind, whatever ended the block.
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
    """Append one line and fsync; a crash can tear only this last line. Raises DataError."""
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
    """Hold the lock file ``path``, which is freed when its holder dies; a second caller waits. Raises DataError.

    Without ``wait`` the second caller gets a UsageError. ``shared`` holders keep out only those who are not.
    """
    descriptor = _acquire(path, (0 if wait else fcntl.LOCK_NB) | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))
    try:
        yield
    finally:
        if not shared:  # others may hold it as well
            _remove(path)
        os.close(descriptor)


def _acquire(path: Path, way: int) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise cannot_write(path, error) from None
        try:
            fcntl.flock(descriptor, way)
            # The holder before us removed the file on release: then we hold a lock nobody else can see.
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(f"{path.parent}: another process is at work there; wait, or choose another") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
