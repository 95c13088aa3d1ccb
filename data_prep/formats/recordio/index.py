"""Read from ``.idx`` and ``.lst`` files where the records of a ``.rec`` file begin, and what they hold."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.formats.recordio.manifest import REMEDY, RecordIOManifest
from data_prep.formats.recordio.writer import ALIGNMENT, HEADER
from data_prep.formats.sample import IMAGE_EXTENSIONS
from data_prep.system.errors import DataError
from data_prep.system.file_handles import open_remedy

_KEY = r"^(0|[1-9]\d{0,11})\t"
_LINES = {
    suffix: re.compile(line.encode(), re.ASCII | re.MULTILINE)
    for suffix, line in {
        ".idx": _KEY + r"(0|[1-9]\d{0,14})$",
        ".lst": _KEY + rf"(-1|\d{{1,6}})\t(\d{{8,12}})\.({'|'.join(IMAGE_EXTENSIONS)})$",
    }.items()
}


@dataclass(frozen=True)
class RecordIndex:
    """The keys, offsets, extensions and labels of N records."""

    keys: NDArray[np.int64]
    """[N]."""
    edges: NDArray[np.int64]
    """[N + 1], the byte offset of each record, and that of the end of the last."""
    extensions: NDArray[np.uint8]
    """[N], indices into ``IMAGE_EXTENSIONS``."""
    labels: NDArray[np.int32]
    """[N], as the ``.lst`` file states them."""

    @classmethod
    def empty(cls) -> "RecordIndex":
        """Return the index of no records."""
        return cls(np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.int32))


def load_index(folder: Path, recordio: RecordIOManifest, split: str) -> RecordIndex:
    """Read and check the ``.idx`` and ``.lst`` files of a split.

    Raises DataError if one is missing or not the file that ``records.json`` describes, or if they disagree.
    """
    index, listing = (_columns(folder, recordio, f"{split}{suffix}") for suffix in (".idx", ".lst"))
    edges = np.append(index[1].astype(np.int64), recordio.find(f"{split}.rec").bytes)
    keys, labels, extensions = index[0].astype(np.int64), listing[1].astype(np.int32), listing[3]
    sizes = np.diff(edges)
    fits = (keys == listing[0].astype(np.int64)) & (keys == listing[2].astype(np.int64))
    if edges[0] or not (fits & (sizes > HEADER.size) & (sizes % ALIGNMENT == 0)).all():
        what = f"it does not fit {split}.lst or {split}.rec"
        raise DataError(f"{folder}/{split}.idx: {what}; remove all three and {REMEDY.format(folder)}")
    known = np.array(IMAGE_EXTENSIONS, dtype="S")
    return RecordIndex(keys, edges, np.searchsorted(known, extensions).astype(np.uint8), labels)


def _columns(folder: Path, recordio: RecordIOManifest, name: str) -> NDArray[np.bytes_]:
    """Return the columns of an ``.idx`` or ``.lst`` file."""
    file, path, remedy = recordio.find(name), folder / name, f"remove it and {REMEDY.format(folder)}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {open_remedy(error, remedy)}") from None
    if problem := file.expected.mismatch_of(content):
        raise DataError(f"{path}: {problem}; {remedy}")
    rows = _LINES[path.suffix].findall(content)
    if not len(rows) == content.count(b"\n") == file.samples:
        raise DataError(f"{path}: {len(rows)} valid lines of {file.samples}; {remedy}")
    return np.array(rows).T
