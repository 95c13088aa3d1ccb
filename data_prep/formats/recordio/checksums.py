"""Check the RecordIO files of a set against ``records.json``, with the functions of ``dataset/checksums.py``."""

from collections.abc import Iterator
from pathlib import Path

from data_prep.dataset.checksums import Mode, check_file, check_files
from data_prep.dataset.manifest import Manifest
from data_prep.formats.recordio.manifest import (
    FILE_NAMES,
    RECORDIO_MANIFEST,
    REMEDY,
    UNFINISHED,
    RecordIOFile,
    is_converted,
    load_recordio_manifest,
)
from data_prep.formats.recordio.writer import SUFFIXES
from data_prep.system.errors import DataError


def check_recordio(folder: Path, manifest: Manifest, split: str, mode: Mode, part: slice = slice(None)) -> None:
    """Check a part of the three files of a split, as ``check_shards`` does for tars.

    Raises:
        DataError: a file is missing, damaged or changes while it is read.
    """
    names = [f"{split}{suffix}" for suffix in SUFFIXES]
    files = [file.expected for file in load_recordio_manifest(folder, manifest).files if file.name in names]
    try:
        check_files(folder, files[part], mode)
    except DataError as error:
        raise DataError(f"{error}; remove it and {REMEDY.format(folder)}") from None


def recordio_damage(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Yield a line for everything that is wrong with a set's RecordIO files; none if it was never converted."""
    if (folder / UNFINISHED).exists():
        yield f"{UNFINISHED}: left by a conversion that did not finish; `smpl-data convert` goes on with it"
    files: tuple[RecordIOFile, ...] = ()
    if is_converted(folder):
        try:
            files = load_recordio_manifest(folder, manifest).files
        except DataError as error:
            yield str(error).removeprefix(f"{folder}/")
            return
    for file in files:
        try:
            check_file(folder, file.expected)
        except DataError as error:
            yield f"{str(error).removeprefix(f'{folder}/')}; `smpl-data convert` writes it again"
    described = {file.name for file in files}
    extra = [name for name in FILE_NAMES if name not in described and (folder / name).exists()]
    yield from (f"{name}: not in {RECORDIO_MANIFEST}" for name in extra)
