"""``records.json``: the RecordIO files of a converted set, and which prepared set they were made from."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.dataset.checksums import ExpectedFile
from data_prep.dataset.manifest import SHA256, SPLITS, STRICT, Manifest
from data_prep.formats.recordio.writer import SUFFIXES
from data_prep.system.atomic_files import write_durably
from data_prep.system.errors import DataError

RECORDIO_MANIFEST = "records.json"
UNFINISHED = ".records.json"
"""A file like ``records.json`` of the splits that an unfinished conversion has written so far."""
FILE_NAMES = tuple(f"{split}{suffix}" for split in SPLITS for suffix in SUFFIXES)
"""Every file that a converted set can have."""
SCHEMA = 1
REMEDY = "run `smpl-data convert {} --to recordio`"


@dataclass(frozen=True)
class RecordIOFile:
    """One file: its size in bytes, its number of samples and its sha256."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    samples: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a name that could leave the folder. Raises ValueError."""
        if self.name not in FILE_NAMES or min(self.samples, self.bytes) < 1 or not SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.name!r}: name, samples, bytes or sha256 out of range")

    @property
    def expected(self) -> ExpectedFile:
        """The file as a check of its checksum needs it."""
        return ExpectedFile(self.name, self.bytes, self.sha256, RECORDIO_MANIFEST)


@dataclass(frozen=True)
class RecordIOManifest:
    """The RecordIO files of a set and the fingerprint of the manifest that they were made from.

    A split without samples has no files.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    fingerprint: str
    files: tuple[RecordIOFile, ...]
    schema: int = SCHEMA

    def find(self, name: str) -> RecordIOFile:
        """Return the entry of one file. Raises KeyError."""
        return {file.name: file for file in self.files}[name]


def is_converted(folder: Path) -> bool:
    """Return whether the set in this folder was converted to RecordIO."""
    return (folder / RECORDIO_MANIFEST).exists()


def save_recordio_manifest(manifest: RecordIOManifest, path: Path) -> None:
    """Write ``records.json`` atomically. Raises DataError."""
    rows = ",\n".join(json.dumps(asdict(file)) for file in manifest.files)
    text = f'{{"schema": {manifest.schema}, "fingerprint": "{manifest.fingerprint}", "files": [\n{rows}\n]}}\n'
    write_durably(path, text.encode())


def read_recordio_manifest(path: Path) -> RecordIOManifest:
    """Read what :func:`save_recordio_manifest` wrote. Raises OSError, and ValueError if the file is damaged."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - keeps the command line's start instant

    return TypeAdapter(RecordIOManifest).validate_json(path.read_bytes())


def load_recordio_manifest(folder: Path, manifest: Manifest) -> RecordIOManifest:
    """Read and check ``records.json``. Raises DataError if it is missing, damaged, or not of this manifest."""
    path, remedy = folder / RECORDIO_MANIFEST, REMEDY.format(folder)
    try:
        recordio = read_recordio_manifest(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the set was not converted; {remedy}") from None
    except (OSError, ValueError):
        raise DataError(f"{path} is damaged; {remedy}") from None
    samples = {split: manifest.samples(split) for split in SPLITS}
    wanted = {f"{split}{suffix}": count for split, count in samples.items() for suffix in SUFFIXES if count}
    found = {file.name: file.samples for file in recordio.files}
    if (recordio.schema, recordio.fingerprint, found) != (SCHEMA, manifest.fingerprint, wanted):
        raise DataError(f"{path}: the records are of another preparation; {remedy}")
    return recordio
