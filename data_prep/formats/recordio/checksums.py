"""Whether the RecordIO files of a set are those that ``records.json`` describes."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import stat_result
from pathlib import Path

from data_prep.dataset.checksums import FRESH_NS, MAX_THREADS, Mode, Record, hash_file, recall, record, remember
from data_prep.dataset.manifest import Manifest
from data_prep.formats.recordio.reader import NAMES, PROGRESS, RECORDS, REMEDY, RecordFile, load_records
from data_prep.formats.recordio.writer import SUFFIXES
from data_prep.system.errors import DataError
from data_prep.system.workers import available_cpus


def check_records(folder: Path, manifest: Manifest, split: str, mode: Mode, share: slice = slice(None)) -> None:
    """Compare a share of a split's three files with ``records.json``, as ``check_files`` does for tars.

    Raises:
        DataError: a file is missing, damaged or changes while it is read.
    """
    names = [f"{split}{suffix}" for suffix in SUFFIXES]
    files = [file for file in load_records(folder, manifest).files if file.name in names]
    try:
        remember(folder, check_record_files(folder, files[share], mode))
    except DataError as error:
        raise DataError(f"{error}; remove it and {REMEDY.format(folder)}") from None


def check_record_files(folder: Path, files: Iterable[RecordFile], mode: Mode) -> dict[str, Record]:
    """Compare sizes, then sha256 as ``mode`` says; return what to remember. Raises DataError without a remedy."""
    sizes = {file: _check_size(folder, file) for file in files}
    memories = recall(folder) if mode == "once" else []
    pending = [
        file
        for file, state in sizes.items()
        if mode != "never" and not any(memory.get(file.name) == record(state, file.sha256) for memory in memories)
    ]
    with ThreadPoolExecutor(min(MAX_THREADS, available_cpus())) as pool:
        states = list(pool.map(partial(_check_content, folder), pending))
    newest = time.time_ns() - FRESH_NS
    good = zip(pending, states, strict=True)
    return {file.name: record(state, file.sha256) for file, state in good if state.st_mtime_ns < newest}


def record_damage(folder: Path, manifest: Manifest) -> Iterator[str]:
    """What is wrong with a set's RecordIO files, a line each; nothing where it was never converted."""
    if (folder / PROGRESS).exists():
        yield f"{PROGRESS}: left by a conversion that did not finish; `smpl-data convert` goes on with it"
    files: tuple[RecordFile, ...] = ()
    if (folder / RECORDS).exists():
        try:
            files = load_records(folder, manifest).files
        except DataError as error:
            yield str(error).removeprefix(f"{folder}/")
            return
    for file in files:
        try:
            check_record_files(folder, [file], "always")
        except DataError as error:
            yield f"{str(error).removeprefix(f'{folder}/')}; `smpl-data convert` writes it anew"
    described = {file.name for file in files}
    yield from (f"{name}: not in {RECORDS}" for name in NAMES if name not in described and (folder / name).exists())


def _check_size(folder: Path, file: RecordFile) -> stat_result:
    path = folder / file.name
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if state.st_size != file.bytes:
        raise DataError(f"{path}: {state.st_size} bytes, {RECORDS} says {file.bytes}")
    return state


def _check_content(folder: Path, file: RecordFile) -> stat_result:
    path = folder / file.name
    try:
        after, digest = hash_file(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if digest != file.sha256:
        raise DataError(f"{path}: sha256 differs from {RECORDS}")
    return after
