"""Any sample of a split in RecordIO by one read, and ``records.json``, which says what was converted from what."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_prep.dataset.manifest import SHA256, SPLITS, STRICT, Manifest
from data_prep.formats.recordio.writer import ALIGNMENT, HEADER, MAGIC, PREFIX, SUFFIXES
from data_prep.formats.sample import IMAGE_EXTENSIONS, Sample
from data_prep.system.atomic_files import write_durably
from data_prep.system.errors import DataError
from data_prep.system.file_handles import OpenFiles, open_remedy, open_sized

RECORDS = "records.json"
PROGRESS = ".records.json"
"""The same, of the splits that an unfinished conversion has written."""
SCHEMA = 1
REMEDY = "run `smpl-data convert {} --to recordio`"

_KEY = r"^(0|[1-9]\d{0,11})\t"
_LINES = {
    suffix: re.compile(line.encode(), re.ASCII | re.MULTILINE)
    for suffix, line in {
        ".idx": _KEY + r"(0|[1-9]\d{0,14})$",
        ".lst": _KEY + rf"(-1|\d{{1,6}})\t(\d{{8,12}})\.({'|'.join(IMAGE_EXTENSIONS)})$",
    }.items()
}


@dataclass(frozen=True)
class RecordFile:
    """One file: its size in bytes, its number of samples and its sha256."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    samples: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a name that could leave the folder. Raises ValueError."""
        if self.name not in NAMES or min(self.samples, self.bytes) < 1 or not SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.name!r}: name, samples, bytes or sha256 out of range")


NAMES = tuple(f"{split}{suffix}" for split in SPLITS for suffix in SUFFIXES)


@dataclass(frozen=True)
class Records:
    """What stands in the RecordIO files of a set, and the fingerprint of the manifest that they were made from.

    A split without samples has no files.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    fingerprint: str
    files: tuple[RecordFile, ...]
    schema: int = SCHEMA

    def find(self, name: str) -> RecordFile:
        """One file's line. Raises KeyError."""
        return {file.name: file for file in self.files}[name]


def save_records(records: Records, path: Path) -> None:
    """Write ``records.json`` atomically. Raises DataError."""
    rows = ",\n".join(json.dumps(asdict(file)) for file in records.files)
    text = f'{{"schema": {records.schema}, "fingerprint": "{records.fingerprint}", "files": [\n{rows}\n]}}\n'
    write_durably(path, text.encode())


def read_records(path: Path) -> Records:
    """Read what :func:`save_records` wrote. Raises OSError, and ValueError if it is damaged."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - keeps the command line's start instant

    return TypeAdapter(Records).validate_json(path.read_bytes())


def load_records(folder: Path, manifest: Manifest) -> Records:
    """Read and check ``records.json``. Raises DataError if it is missing, damaged, or not of this manifest."""
    path, remedy = folder / RECORDS, REMEDY.format(folder)
    try:
        records = read_records(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the set was not converted; {remedy}") from None
    except (OSError, ValueError):
        raise DataError(f"{path} is damaged; {remedy}") from None
    samples = {split: manifest.samples(split) for split in SPLITS}
    wanted = {f"{split}{suffix}": count for split, count in samples.items() for suffix in SUFFIXES if count}
    found = {file.name: file.samples for file in records.files}
    if (records.schema, records.fingerprint, found) != (SCHEMA, manifest.fingerprint, wanted):
        raise DataError(f"{path}: the records are of another preparation; {remedy}")
    return records


def open_recordio(folder: Path, manifest: Manifest, split: str) -> "RecordIOReader":
    """Open a split's ``.rec`` by its ``.idx`` and ``.lst``.

    Raises DataError if a file is missing, damaged, or made from another preparation.
    """
    records = load_records(folder, manifest)
    if not manifest.samples(split):
        nothing = RecordIndex(
            np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.int32)
        )
        return RecordIOReader(folder / f"{split}.rec", nothing, len(manifest.classes), hidden=False)
    index = _load_index(folder, records, split)
    return RecordIOReader(folder / f"{split}.rec", index, len(manifest.classes), hidden=split == "unlabeled")


@dataclass(frozen=True)
class RecordIndex:
    """Where N records lie."""

    keys: NDArray[np.int64]
    """[N]."""
    edges: NDArray[np.int64]
    """[N + 1], where records begin, and the end of the last."""
    extensions: NDArray[np.uint8]
    """[N], places in ``IMAGE_EXTENSIONS``."""
    labels: NDArray[np.int32]
    """[N], as the list says."""


class RecordIOReader:
    """A split in RecordIO. It holds 21 bytes a sample.

    Args:
        path: of the ``.rec``, opened at the first read.
        index: of its records.
        classes: labels are below this.
        hidden: whether labels are truths of unlabeled images and may be -1, unknown.
    """

    def __init__(self, path: Path, index: RecordIndex, classes: int, *, hidden: bool) -> None:
        self.path, self.keys, self.classes, self.lowest = path, index.keys, classes, -1 if hidden else 0
        self._edges, self._extensions, self._labels = index.edges, index.extensions, index.labels
        self._files = OpenFiles(lambda _: open_sized(path, int(index.edges[-1])))

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> Sample:
        """Read sample ``index``. Raises DataError if what lies there is not that sample."""
        if not 0 <= index < len(self.keys):
            raise IndexError(index)
        start = int(self._edges[index])
        size = int(self._edges[index + 1]) - start
        try:
            content = self._files.read(0, start, size)
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror}; {open_remedy(error, self._remedy)}") from None
        except ValueError as error:
            raise DataError(f"{self.path}: {error} by its index; {self._remedy}") from None
        return self._unpack(index, size, content)

    def _unpack(self, index: int, size: int, content: bytes) -> Sample:
        key = int(self.keys[index])
        if len(content) != size:
            raise self._damaged(key, "is cut")
        magic, length, flag, label, number, second = HEADER.unpack_from(content)
        stop = PREFIX + length
        if (magic, flag, number, second) != (MAGIC, 0, key, 0) or stop + -stop % ALIGNMENT != size:
            raise self._damaged(key, "is not where its index says, or its header is damaged")
        if not (self.lowest <= label < self.classes and label.is_integer()):
            raise self._damaged(key, f"has label {label} of {self.classes} classes")
        if label != self._labels[index]:
            raise self._damaged(key, f"has label {int(label)}, {self.path.stem}.lst says {self._labels[index]}")
        extension = IMAGE_EXTENSIONS[self._extensions[index]]
        return Sample(key, extension, content[HEADER.size : stop], int(label))

    def _damaged(self, key: int, what: str) -> DataError:
        return DataError(f"{self.path}: record {key:08d} {what}; {self._remedy}")

    @property
    def _remedy(self) -> str:
        return f"remove it and {REMEDY.format(self.path.parent)}"


def _load_index(folder: Path, records: Records, split: str) -> RecordIndex:
    places, names = (_load(folder, records, f"{split}{suffix}") for suffix in (".idx", ".lst"))
    edges = np.append(places[1].astype(np.int64), records.find(f"{split}.rec").bytes)
    keys, labels, extensions = places[0].astype(np.int64), names[1].astype(np.int32), names[3]
    sizes = np.diff(edges)
    fits = (keys == names[0].astype(np.int64)) & (keys == names[2].astype(np.int64))
    if edges[0] or not (fits & (sizes > HEADER.size) & (sizes % ALIGNMENT == 0)).all():
        what = f"it does not fit {split}.lst or {split}.rec"
        raise DataError(f"{folder}/{split}.idx: {what}; remove all three and {REMEDY.format(folder)}")
    known = np.array(IMAGE_EXTENSIONS, dtype="S")
    return RecordIndex(keys, edges, np.searchsorted(known, extensions).astype(np.uint8), labels)


def _load(folder: Path, records: Records, name: str) -> NDArray[np.bytes_]:
    """The columns of an index or a list whose bytes are those of ``records.json``."""
    file, path, remedy = records.find(name), folder / name, f"remove it and {REMEDY.format(folder)}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {open_remedy(error, remedy)}") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataError(f"{path}: sha256 differs from {RECORDS}; {remedy}")
    rows = _LINES[path.suffix].findall(content)
    if not len(rows) == content.count(b"\n") == file.samples:
        raise DataError(f"{path}: {len(rows)} good lines of {file.samples}; {remedy}")
    return np.array(rows).T
