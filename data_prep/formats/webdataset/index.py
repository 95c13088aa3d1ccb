"""DALI's index of a WebDataset tar: where the members of each sample lie, so that any sample is one read away.

A line ``v1.2 N``, then a line a sample: ``extension offset size name`` of the image and the same of its label. The
offset is that of the payload; its header is the 512 bytes before. DALI's own ``wds2idx`` makes the same bytes from a
finished tar; here the tar's writer notes the members as it writes them.
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


class Member(NamedTuple):
    """A member of a tar: its name, and offset and size of its payload in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class TarIndex:
    """Where N samples lie in one tar; offsets and sizes of payloads, in bytes."""

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    extensions: NDArray[np.uint8]
    """Places in ``IMAGE_EXTENSIONS``."""
    label_offsets: NDArray[np.int64]
    label_sizes: NDArray[np.int64]
    label_extension: str
    """Of all samples: cls or truth."""

    def __len__(self) -> int:
        return len(self.keys)


def tar_index(members: Iterable[Member]) -> bytes:
    """The index of a tar's members in their order: image, label, image, label and so on, two of each key."""
    lines: list[str] = []
    for number, (name, offset, size) in enumerate(members):
        entry = f"{name.partition('.')[2]} {offset} {size} {name}"
        if number % 2:
            lines[-1] += f" {entry}"
        else:
            lines.append(entry)
    return "".join(f"{line}\n" for line in (f"v1.2 {len(lines)}", *lines)).encode()


def padded(size: Bytes) -> Bytes:
    """The bytes that a payload takes in a tar: whole blocks."""
    return -(-size // BLOCK) * BLOCK


def read_index(content: bytes) -> TarIndex:
    """Read what :func:`tar_index` writes. Raises DataError, with the reason alone, on anything else.

    The samples must fill the tar from its start, one after the other, without a gap.
    """
    header = _HEADER.match(content)
    if header is None:
        raise DataError("it does not begin with 'v1.2' and a number of samples")
    body = content[header.end() :]
    rows = _LINE.findall(body)
    if len(rows) != body.count(b"\n") or not body.endswith(b"\n"):
        raise DataError(f"line {_first_broken(body)} is cut or damaged")
    if len(rows) != int(header[1]):
        raise DataError(f"it holds {len(rows)} samples and announces {int(header[1])}")
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
        raise DataError("it mixes labels in the open with hidden ones")
    numbers = (np.array(column).astype(np.int64) for column in (key, offset, size, label_offset, label_size))
    keys, offsets, sizes, label_offsets, label_sizes = numbers
    places = {name.encode(): place for place, name in enumerate(IMAGE_EXTENSIONS)}
    extensions = np.array([places[name] for name in extension], np.uint8)
    return TarIndex(keys, offsets, sizes, extensions, label_offsets, label_sizes, label_extension[0].decode())


def _check_layout(index: TarIndex) -> None:
    """Each payload must lie a header behind the end of the one before."""
    if not index.sizes.all() or not ((index.label_sizes > 0) & (index.label_sizes <= LABEL_DIGITS)).all():
        raise DataError("an image is empty, or a label is no number")
    starts = np.stack([index.offsets, index.label_offsets], axis=1).ravel()
    sizes = np.stack([index.sizes, index.label_sizes], axis=1).ravel()
    expected = np.concatenate([[0], np.cumsum(padded(sizes) + BLOCK)])[:-1] + BLOCK
    if (starts != expected).any():
        sample = int((starts != expected).argmax()) // 2
        raise DataError(f"sample {index.keys[sample]:08d} does not lie where the one before it ends")
