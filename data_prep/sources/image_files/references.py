"""Where images lie, in columns: a million references take no million objects, and a shard's share of them is small."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from data_prep.system.types import Labels

LOOSE = -1
"""The offset of an image that is a file of its own."""


@dataclass(frozen=True)
class Names:
    """Byte strings, one after the other in ``text``; string i ends before ``ends[i]``, int64 [N]."""

    text: bytes
    ends: Labels

    @classmethod
    def of(cls, names: Iterable[bytes]) -> "Names":
        """Join the names."""
        held = list(names)
        return cls(b"".join(held), np.fromiter(accumulate(map(len, held)), dtype=np.int64, count=len(held)))

    @classmethod
    def join(cls, parts: Sequence["Names"]) -> "Names":
        """One part after the other."""
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
    """A folder of loose images or an archive of images, and what stands before their names in messages."""

    path: bytes
    shown: str = ""

    def below(self, name: bytes) -> bytes:
        """The path of a file or folder in it."""
        return os.path.join(self.path, name)  # noqa: PTH118 - names are bytes, which no Path takes

    def text(self, name: bytes) -> str:
        """That path for a message."""
        return printable(self.below(name))


@dataclass(frozen=True)
class References:
    """N images: image i is ``names[i]`` below ``roots[root[i]]``, or that archive's bytes from ``offsets[i]`` on.

    ``sizes`` are bytes, as listed; -1 where they could not be had. All columns are of length N.
    """

    roots: tuple[Root, ...]
    root: NDArray[np.uint8]
    names: Names
    offsets: Labels
    sizes: Labels

    @classmethod
    def of(
        cls, root: Root, names: Sequence[bytes], sizes: Sequence[int], offsets: Sequence[int] | None = None
    ) -> "References":
        """The images of one folder, or with ``offsets`` of one archive."""
        where = np.full(len(names), LOOSE, dtype=np.int64) if offsets is None else np.array(offsets, dtype=np.int64)
        return cls((root,), np.zeros(len(names), np.uint8), Names.of(names), where, np.array(sizes, dtype=np.int64))

    @classmethod
    def join(cls, parts: Sequence["References"]) -> "References":
        """One part after the other."""
        roots = tuple(dict.fromkeys(root for part in parts for root in part.roots))
        moved = [np.array([roots.index(root) for root in part.roots], dtype=np.uint8)[part.root] for part in parts]
        names = Names.join([part.names for part in parts])
        offsets, sizes = ([getattr(part, column) for part in parts] for column in ("offsets", "sizes"))
        return cls(roots, np.concatenate(moved), names, np.concatenate(offsets), np.concatenate(sizes))

    def __len__(self) -> int:
        return len(self.names)

    def select(self, indices: Labels) -> "References":
        """The references at ``indices``, in that order."""
        names = Names.of(self.names[index] for index in indices.tolist())
        return References(self.roots, self.root[indices], names, self.offsets[indices], self.sizes[indices])

    def shown(self, index: int) -> str:
        """The image's name for a message: below the source, on one line whatever bytes it has."""
        return self.roots[self.root[index]].shown + printable(self.names[index])


def printable(name: bytes) -> str:
    """A file's name on one line: bytes that are not UTF-8 and control characters become escapes."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
