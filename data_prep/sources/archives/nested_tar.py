"""Find the files in a tar, and in tars inside of it, without unpacking: from the headers alone."""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.sources.archives.safety import check_member
from data_prep.system.errors import DataError

BLOCK = 512


@dataclass(frozen=True)
class TarMember:
    """A regular file in an archive: its name there, and where its bytes lie in the outermost file."""

    name: str
    offset: int
    size: int


def tar_members(path: Path, most: int, inside: TarMember | None = None) -> Iterator[TarMember]:
    """Yield the regular files of an uncompressed tar, or of the tar ``inside`` of it, in their order there.

    Raises DataError naming the archive if it is cut, damaged or compressed, or on a member that is a link, a device,
    sparse, longer than ``most`` bytes or leads out.
    """
    shown = f"{path}: {inside.name}" if inside else str(path)
    try:
        with path.open("rb", buffering=0) as file:
            whole = inside or TarMember(str(path), 0, os.fstat(file.fileno()).st_size)
            yield from _walk(_Window(file.fileno(), whole), shown, most)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise DataError(f"{shown}: not a readable tar without compression ({error}); get it again") from None


def _walk(window: "_Window", shown: str, most: int) -> Iterator[TarMember]:
    end = 0
    with tarfile.open(fileobj=window, mode="r:") as archive:
        for info in archive:
            check_member(shown, info, most)
            end = info.offset_data + -(-info.size // BLOCK) * BLOCK
            if info.isreg():
                yield TarMember(info.name, window.whole.offset + info.offset_data, info.size)
    # A tar that is cut between two members, or broken in a header, just ends for tarfile: no empty block stands there.
    window.seek(end)
    if window.read(BLOCK) != bytes(BLOCK):
        raise DataError(f"{shown}: cut or damaged after {end} bytes; get it again")


class _Window(io.RawIOBase):
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
        left = max(0, self.whole.size - self._position)
        wanted = left if size < 0 else min(size, left)
        content = os.pread(self._descriptor, wanted, self.whole.offset + self._position)
        self._position += len(content)
        return content
