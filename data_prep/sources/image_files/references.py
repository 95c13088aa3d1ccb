"""References to image files and to images in archives, stored in columns, so a million of them take little memory."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from data_prep.system.types import Labels

NO_ARCHIVE = -1
"""The offset of an image that is a file of its own."""


@dataclass(frozen=True)
class Names:
    """N byte strings."""

    text: bytes
    """All strings, one after the other."""
    ends: Labels
    """int64 [N]: the offset in ``text`` at which each string ends."""

    @classmethod
    def of(cls, names: Iterable[bytes]) -> "Names":
        """Store the names."""
        strings = list(names)
        ends = np.fromiter(accumulate(map(len, strings)), dtype=np.int64, count=len(strings))
        return cls(b"".join(strings), ends)

    @classmethod
    def join(cls, parts: Sequence["Names"]) -> "Names":
        """Concatenate the parts."""
        starts = accumulate((len(part.text) for part in parts), initial=0)
        ends = np.concatenate([part.ends + start for part, start in zip(parts, starts, strict=False)])
        return cls(b"".join(part.text for part in parts), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> bytes:
        start = int(self.ends[index - 1]) if index else 0
        return self.text[start : int(self.ends[index])]

    def __iter__(self) -> Iterator[bytes]:
        start = 0
        for end in map(int, self.ends):
            yield self.text[start:end]
            start = end


@dataclass(frozen=True)
class Root:
    """A folder of image files, or an archive of images."""

    path: bytes
    shown: str = ""
    """The prefix of the images' names in messages."""

    def below(self, name: bytes) -> bytes:
        """Return the path of a file or folder in it."""
        return os.path.join(self.path, name)  # noqa: PTH118 - names are bytes, which no Path takes

    def display(self, name: bytes) -> str:
        """Return the path of a file or folder in it as one line, for a message."""
        return printable(self.below(name))


@dataclass(frozen=True)
class References:
    """References to N images."""

    roots: tuple[Root, ...]
    root: NDArray[np.uint8]
    """[N]: the index of each image's root in ``roots``."""
    names: Names
    """The name of each image below its root."""
    offsets: Labels
    """int64 [N]: bytes from the start of the archive; NO_ARCHIVE if the image is a file of its own."""
    sizes: Labels
    """int64 [N]: bytes, as listed; -1 if they could not be determined."""

    @classmethod
    def of(
        cls, root: Root, names: Sequence[bytes], sizes: Sequence[int], offsets: Sequence[int] | None = None
    ) -> "References":
        """Refer to images of one folder or, with ``offsets``, of one archive."""
        where = (
            np.full(len(names), NO_ARCHIVE, dtype=np.int64) if offsets is None else np.array(offsets, dtype=np.int64)
        )
        return cls((root,), np.zeros(len(names), np.uint8), Names.of(names), where, np.array(sizes, dtype=np.int64))

    @classmethod
    def join(cls, parts: Sequence["References"]) -> "References":
        """Concatenate the parts."""
        roots = tuple(dict.fromkeys(root for part in parts for root in part.roots))
        moved = [np.array([roots.index(root) for root in part.roots], dtype=np.uint8)[part.root] for part in parts]
        names = Names.join([part.names for part in parts])
        offsets, sizes = ([getattr(part, column) for part in parts] for column in ("offsets", "sizes"))
        return cls(roots, np.concatenate(moved), names, np.concatenate(offsets), np.concatenate(sizes))

    def __len__(self) -> int:
        return len(self.names)

    def select(self, indices: Labels) -> "References":
        """Return the references at ``indices``, in that order."""
        names = Names.of(self.names[index] for index in indices.tolist())
        return References(self.roots, self.root[indices], names, self.offsets[indices], self.sizes[indices])

    def shown(self, index: int) -> str:
        """Return an image's name below the source for a message; it is one line whatever bytes the name has."""
        return self.roots[self.root[index]].shown + printable(self.names[index])


def printable(name: bytes) -> str:
    """Return a file's name on one line: bytes that are not UTF-8 and control characters become escapes."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
