"""Read a list of the labeled training images: one image in each line, by its path or by its file name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from data_prep.sources.image_files.reader import FilePart
from data_prep.sources.image_files.references import printable
from data_prep.system.errors import DataError
from data_prep.system.types import Labels

KIND = {"val": "a validation image", "test": "a test image", "unlabeled": "an image without a label"}
MAX_BYTES = 1 << 30


def read_label_list(path: Path, parts: Mapping[str, FilePart], classes: tuple[str, ...]) -> Labels:
    """Return the sorted indices into ``parts["train"]`` of the images in the list.

    A line is the path below the source, with or without ``train/`` before it, or the file name if only one image has
    it. Raises DataError with the number of a line that names no image, no training image, several images or an image
    that was named before; and with the name of a class without a line.
    """
    lines = _read(path)
    matches = _search({name for _, name in lines}, parts)
    seen: dict[int, int] = {}
    for number, name in lines:
        where = f"{path} line {number}: {printable(name)!r}"
        index = _resolve(matches.get(name), where)
        if index in seen:
            raise DataError(f"{where} is in line {seen[index]} already; remove one of them")
        seen[index] = number
    chosen = np.array(sorted(seen), dtype=np.int64)
    missing = np.flatnonzero(np.bincount(parts["train"].labels[chosen], minlength=len(classes)) == 0)
    if len(missing):
        raise DataError(f"{path}: no image of class {classes[missing[0]]!r}; add one or more")
    return chosen


@dataclass
class _Match:
    """The images that one line of the list may mean.

    Of all images with that line as an alias, only those count for which the alias is the most specific. If there are
    several of them, the line is ambiguous.
    """

    rank: int = 9
    """The index of the alias in :func:`_aliases`: 0 for the most specific, and at first more than any index."""
    found: list[tuple[str, int]] = field(default_factory=list)
    """The part and the index of an image; at most two of them, which are enough to know that a line is ambiguous."""

    def add(self, rank: int, part: str, index: int) -> None:
        if rank < self.rank:
            self.rank, self.found = rank, []
        if rank == self.rank and len(self.found) < 2:
            self.found.append((part, index))


def _read(path: Path) -> list[tuple[int, bytes]]:
    """Return line numbers and names, without empty lines."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(
                f"{path}: {size} bytes are too many for a list of images; name a file with one image in each line"
            )
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name a file with one image in each line") from None
    names = ((number, line.strip().removeprefix(b"./")) for number, line in enumerate(lines, 1))
    return [(number, name) for number, name in names if name]


def _search(wanted: set[bytes], parts: Mapping[str, FilePart]) -> dict[bytes, _Match]:
    matches: dict[bytes, _Match] = {}
    for title, part in parts.items():
        for index, name in enumerate(part.references.names):
            for rank, alias in enumerate(_aliases(name, title)):
                if alias in wanted:
                    matches.setdefault(alias, _Match()).add(rank, title, index)
    return matches


def _aliases(name: bytes, title: str) -> Iterator[bytes]:
    """Yield the names by which a list may call an image, the most specific one first and each one once."""
    inner = name.removeprefix(b"train/")
    others = (inner, title.encode() + b"/" + name, name.rpartition(b"/")[2])
    return iter(dict.fromkeys(chain((name,), others)))


def _resolve(match: _Match | None, where: str) -> int:
    if match is None:
        raise DataError(f"{where} is no image of this source; remove the line, or write the path below --source")
    if len(match.found) > 1:
        raise DataError(f"{where} is the name of several images; write the path below --source")
    part, index = match.found[0]
    if part != "train":
        raise DataError(f"{where} is {KIND[part]}; only training images can be labeled: remove the line")
    return index
