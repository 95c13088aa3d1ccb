"""Read a list of the training images that are labeled: an image a line, by its path or its bare name."""

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
MOST_BYTES = 1 << 30


def read_label_list(path: Path, parts: Mapping[str, FilePart], classes: tuple[str, ...]) -> Labels:
    """The sorted indices into ``parts["train"]`` of the images that the list names.

    A line is the path below the source, with or without ``train/`` before it, or the name alone if only one image has
    it. Raises DataError with the line's number on a name that is unknown, not a training image's, meant twice or not
    clear; and naming a class that has no line.
    """
    lines = _read(path)
    hits = _search({name for _, name in lines}, parts)
    seen: dict[int, int] = {}
    for number, name in lines:
        where = f"{path} line {number}: {printable(name)!r}"
        index = _resolve(hits.get(name), where)
        if index in seen:
            raise DataError(f"{where} is in line {seen[index]} already; remove one of them")
        seen[index] = number
    chosen = np.array(sorted(seen), dtype=np.int64)
    missing = np.flatnonzero(np.bincount(parts["train"].labels[chosen], minlength=len(classes)) == 0)
    if len(missing):
        raise DataError(f"{path}: no image of class {classes[missing[0]]!r}; add one or more")
    return chosen


@dataclass
class _Hit:
    """The images that a line may mean: the closest form of a name wins, as long as one image alone has it."""

    closeness: int = 9
    found: list[tuple[str, int]] = field(default_factory=list)

    def add(self, closeness: int, part: str, index: int) -> None:
        if closeness < self.closeness:
            self.closeness, self.found = closeness, []
        if closeness == self.closeness and len(self.found) < 2:
            self.found.append((part, index))


def _read(path: Path) -> list[tuple[int, bytes]]:
    """Line numbers and names; empty lines are left out."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{path}: {size} bytes are no list of images; name a file with an image's name a line")
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name a file with an image's name a line") from None
    names = ((number, line.strip().removeprefix(b"./")) for number, line in enumerate(lines, 1))
    return [(number, name) for number, name in names if name]


def _search(wanted: set[bytes], parts: Mapping[str, FilePart]) -> dict[bytes, _Hit]:
    hits: dict[bytes, _Hit] = {}
    for title, part in parts.items():
        for index, name in enumerate(part.references.names):
            for closeness, form in enumerate(_forms(name, title)):
                if form in wanted:
                    hits.setdefault(form, _Hit()).add(closeness, title, index)
    return hits


def _forms(name: bytes, title: str) -> Iterator[bytes]:
    """How a list may call an image, the closest form first and each form once."""
    inner = name.removeprefix(b"train/")
    others = (inner, title.encode() + b"/" + name, name.rpartition(b"/")[2])
    return iter(dict.fromkeys(chain((name,), others)))


def _resolve(hit: _Hit | None, where: str) -> int:
    if hit is None:
        raise DataError(f"{where} is no image of this source; remove the line, or write the path below --source")
    if len(hit.found) > 1:
        raise DataError(f"{where} is the name of several images; write the path below --source")
    part, index = hit.found[0]
    if part != "train":
        raise DataError(f"{where} is {KIND[part]}; a list labels training images alone: remove the line")
    return index
