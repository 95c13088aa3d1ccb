"""The index of a WebDataset tar in DALI's format: where the members of each sample are, so that any can be read alone.

The first line is ``v1.2 N``. Each sample then has a line with ``extension offset size name`` of its image and the same
of its label. An offset is that of the payload, whose header is the 512 bytes before it. DALI's own ``wds2idx`` makes
the same bytes from a finished tar.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_prep.formats.sample import IMAGE_EXTENSIONS
from data_prep.system.errors import DataError

BLOCK = 512
"""Bytes of a block of a tar: headers and payloads fill whole blocks."""
LABEL_EXTENSIONS = ("cls", "truth")
LABEL_DIGITS = 6

Bytes = TypeVar("Bytes", int, NDArray[np.int64])

_HEADER = re.compile(rb"v1\.2 (\d{1,9})\n", re.ASCII)
_NUMBER = r"(0|[1-9]\d{0,14})"
_KEY = r"(\d{8}|[1-9]\d{8,11})"
_LINE = re.compile(
    rf"^({'|'.join(IMAGE_EXTENSIONS)}) {_NUMBER} {_NUMBER} {_KEY}\.\1"
    rf" ({'|'.join(LABEL_EXTENSIONS)}) {_NUMBER} {_NUMBER} \4\.\5$".encode(),
    re.ASCII | re.MULTILINE,
)


class IndexEntry(NamedTuple):
    """A member of a tar: its name, and the offset and size of its payload in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class TarIndex:
    """Where the N samples of one tar are: offsets and sizes of payloads in bytes, each [N]."""

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    extensions: NDArray[np.uint8]
    """Indices into ``IMAGE_EXTENSIONS``."""
    label_offsets: NDArray[np.int64]
    label_sizes: NDArray[np.int64]
    label_extension: str
    """The file extension of all labels: cls or truth."""

    def __len__(self) -> int:
        return len(self.keys)


def write_index(members: Iterable[IndexEntry]) -> bytes:
    """Return the index of a tar, from its members in order: image and label of the first sample, and so on."""
    lines: list[str] = []
    for number, (name, offset, size) in enumerate(members):
        entry = f"{name.partition('.')[2]} {offset} {size} {name}"
        if number % 2:
            lines[-1] += f" {entry}"
        else:
            lines.append(entry)
    return "".join(f"{line}\n" for line in (f"v1.2 {len(lines)}", *lines)).encode()


def padded(size: Bytes) -> Bytes:
    """Return the bytes that a payload takes in a tar, in whole blocks."""
    return -(-size // BLOCK) * BLOCK


def read_index(content: bytes) -> TarIndex:
    """Parse what :func:`write_index` wrote.

    The samples must fill the tar from its start without a gap. Raises DataError, without a file name, on anything else.
    """
    header = _HEADER.match(content)
    if header is None:
        raise DataError("it does not begin with 'v1.2' and a number of samples")
    body = content[header.end() :]
    rows = _LINE.findall(body)
    if len(rows) != body.count(b"\n") or not body.endswith(b"\n"):
        raise DataError(f"line {_first_broken(body)} is cut or damaged")
    if len(rows) != int(header[1]):
        raise DataError(f"it holds {len(rows)} samples, its first line says {int(header[1])}")
    index = _columns(rows)
    _check_layout(index)
    return index


def _first_broken(body: bytes) -> int:
    lines = body.split(b"\n")[:-1]
    broken = (number for number, line in enumerate(lines) if _LINE.fullmatch(line) is None)
    return 2 + next(broken, len(lines))


def _columns(rows: list[tuple[bytes, ...]]) -> TarIndex:
    if not rows:
        raise DataError("it holds no sample")
    extension, offset, size, key, label_extension, label_offset, label_size = zip(*rows, strict=True)
    if len(set(label_extension)) > 1:
        raise DataError("it mixes visible and hidden labels")
    numbers = (np.array(column).astype(np.int64) for column in (key, offset, size, label_offset, label_size))
    keys, offsets, sizes, label_offsets, label_sizes = numbers
    places = {name.encode(): place for place, name in enumerate(IMAGE_EXTENSIONS)}
    extensions = np.array([places[name] for name in extension], np.uint8)
    return TarIndex(keys, offsets, sizes, extensions, label_offsets, label_sizes, label_extension[0].decode())


def _check_layout(index: TarIndex) -> None:
    """Check that each payload starts one header after the end of the payload before it."""
    if not index.sizes.all() or not ((index.label_sizes > 0) & (index.label_sizes <= LABEL_DIGITS)).all():
        raise DataError("an image is empty, or a label does not have 1 to 6 characters")
    starts = np.stack([index.offsets, index.label_offsets], axis=1).ravel()
    sizes = np.stack([index.sizes, index.label_sizes], axis=1).ravel()
    expected = np.concatenate([[0], np.cumsum(padded(sizes) + BLOCK)])[:-1] + BLOCK
    if (starts != expected).any():
        sample = int((starts != expected).argmax()) // 2
        raise DataError(f"sample {index.keys[sample]:08d} does not start where the one before it ends")
