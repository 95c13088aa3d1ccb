"""The members of a tar archive: which may be read, and where their bytes are, also in tars inside of the tar."""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.system.errors import DataError

BLOCK = 512
"""Bytes in a block of a tar."""


@dataclass(frozen=True)
class TarMember:
    """A regular file in an archive."""

    name: str
    offset: int
    """Bytes from the start of the outermost file."""
    size: int
    """Bytes."""


def check_member(archive: object, member: tarfile.TarInfo, max_bytes: int) -> None:
    """Raise DataError if a member leads out of the archive, is a link, a device or sparse, or is too large."""
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise DataError(f"{archive}: member {member.name!a} leads out of the archive: refused")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise DataError(f"{archive}: member {member.name!a} is a link or a device: refused")
    if member.size > max_bytes:
        raise DataError(f"{archive}: member {member.name!a} would take {member.size} bytes: refused")


def tar_members(path: Path, max_bytes: int, inside: TarMember | None = None) -> Iterator[TarMember]:
    """Yield the regular files of an uncompressed tar, or of its member ``inside``, in order; only headers are read.

    Raises DataError if the archive is cut off, damaged or compressed, or as :func:`check_member` does.
    """
    shown = f"{path}: {inside.name}" if inside else str(path)
    try:
        with path.open("rb", buffering=0) as file:
            whole = inside or TarMember(str(path), 0, os.fstat(file.fileno()).st_size)
            yield from _read_headers(_FileSlice(file.fileno(), whole), shown, max_bytes)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise DataError(f"{shown}: not a readable tar without compression ({error}); get it again") from None


def _read_headers(file: "_FileSlice", shown: str, max_bytes: int) -> Iterator[TarMember]:
    end = 0
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            check_member(shown, info, max_bytes)
            end = info.offset_data + -(-info.size // BLOCK) * BLOCK
            if info.isreg():
                yield TarMember(info.name, file.whole.offset + info.offset_data, info.size)
    # tarfile ends without an error where a tar is cut between two members or has a broken header. A whole tar ends with
    # an empty block.
    file.seek(end)
    if file.read(BLOCK) != bytes(BLOCK):
        raise DataError(f"{shown}: cut or damaged after {end} bytes; get it again")


class _FileSlice(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, descriptor: int, whole: TarMember) -> None:
        super().__init__()
        self.whole, self._descriptor, self._position = whole, descriptor, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.whole.size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        remaining = max(0, self.whole.size - self._position)
        wanted = remaining if size < 0 else min(size, remaining)
        content = os.pread(self._descriptor, wanted, self.whole.offset + self._position)
        self._position += len(content)
        return content
