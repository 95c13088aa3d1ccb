"""Check the files of a prepared set against its manifest; what was hashed once is remembered by size and time.

Memory stays flat: files are read in chunks, several at a time.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from os import fstat, stat_result
from pathlib import Path
from typing import Any, Literal

from data_prep.dataset.manifest import Manifest, Shard
from data_prep.storage.url import is_mirror
from data_prep.system.atomic_files import locked, make_folder, write_durably
from data_prep.system.errors import DataError
from data_prep.system.paths import cache_folder
from data_prep.system.workers import available_cpus

MEMORY = ".verified.json"
MAX_THREADS = 8
AGAIN = "remove what is there of it and run the same `smpl-data prepare{}` again"
FRESH_NS = 100_000_000  # a file changed within one tick of the clock keeps its time: such a young one is not remembered

Mode = Literal["always", "once", "never"]
Record = list[int | str]
"""Size, mtime in ns, inode and sha256 of a file that was found to be the manifest's."""


@dataclass(frozen=True)
class Expected:
    """A file as the manifest describes it; the size of an index does not stand there."""

    name: str
    size: int | None
    sha256: str


def expected_files(shard: Shard) -> tuple[Expected, Expected]:
    """The tar of a shard and the index of that tar."""
    return (
        Expected(shard.name, shard.bytes, shard.sha256),
        Expected(shard.index_name, None, shard.index),
    )


def check_shard(folder: Path, shard: Shard) -> None:
    """Read the tar and the index of one shard and compare them with the manifest. Raises DataError."""
    try:
        for file in expected_files(shard):
            _check_size(folder, file)
            _check_content(folder, file)
    except DataError as error:
        raise DataError(f"{error}; {AGAIN.format('')}") from None


def check_files(folder: Path, manifest: Manifest, shards: Iterable[Shard], mode: Mode) -> None:
    """Compare tars and indices with the manifest: sizes and, unless ``mode`` is ``never``, sha256.

    With ``once`` a file that was found good before, and has the same size, time and inode, is not read. A file that is
    not in a mirror yet is no fault: it is checked when it comes.

    Raises:
        DataError: a file is missing, damaged or changes while it is read.
    """
    files = [file for shard in shards for file in expected_files(shard)]
    try:
        found = {file: state for file in files if (state := _check_size(folder, file))}
        if mode != "never":
            _check_contents(folder, found, recall(folder) if mode == "once" else [])
    except DataError as error:
        raise DataError(f"{error}; {_remedy(folder, manifest)}") from None


def recall(folder: Path) -> list[dict[str, Any]]:
    """What was found good in this folder, by file name: what stands beside the set, and in the user's cache."""
    return [_read(place) for place in _places(folder)]


def remember(folder: Path, records: Mapping[str, Record]) -> None:
    """Add to what is known of a folder: beside the set or, where that is read-only, in the user's cache.

    Many processes may do so at once. Where neither place can be written, nothing is remembered.
    """
    for place in _places(folder) if records else ():
        with suppress(DataError, OSError):
            make_folder(place.parent)
            with locked(place.with_name(place.name + ".lock")):
                write_durably(place, json.dumps(_read(place) | dict(records), sort_keys=True).encode())
            return


def record(state: stat_result, sha256: str) -> Record:
    """The state of a file whose content has this sha256."""
    return [state.st_size, state.st_mtime_ns, state.st_ino, sha256]


def _check_size(folder: Path, file: Expected) -> stat_result | None:
    path = folder / file.name
    try:
        state = path.stat()
    except OSError as error:
        if is_mirror(folder):
            return None
        raise DataError(f"{path}: {error.strerror}") from None
    if file.size not in {None, state.st_size}:
        raise DataError(f"{path}: {state.st_size} bytes, the manifest says {file.size}")
    return state


def _check_contents(folder: Path, found: Mapping[Expected, stat_result], memories: list[dict[str, Any]]) -> None:
    pending = [
        file
        for file, state in found.items()
        if not any(memory.get(file.name) == record(state, file.sha256) for memory in memories)
    ]
    if not pending:
        return
    with ThreadPoolExecutor(min(MAX_THREADS, available_cpus())) as pool:
        states = list(pool.map(partial(_check_content, folder), pending))
    newest = time.time_ns() - FRESH_NS
    good = zip(pending, states, strict=True)
    remember(folder, {file.name: record(s, file.sha256) for file, s in good if s and s.st_mtime_ns < newest})


def _check_content(folder: Path, file: Expected) -> stat_result | None:
    """Hash one file; None if a mirror has dropped it by now."""
    path = folder / file.name
    try:
        after, digest = hash_file(path)
    except FileNotFoundError as error:
        if is_mirror(folder):
            return None
        raise DataError(f"{path}: {error.strerror}") from None
    if digest != file.sha256:
        stale = "stale index, its " if file.size is None else ""
        raise DataError(f"{path}: {stale}sha256 differs from the manifest")
    return after


def hash_file(path: Path) -> tuple[stat_result, str]:
    """The state of a file and its sha256, read in chunks.

    Raises FileNotFoundError if there is none, DataError if it cannot be read or changes meanwhile.
    """
    try:
        with path.open("rb") as opened:
            before = fstat(opened.fileno())
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        after = path.stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if record(before, "") != record(after, ""):
        raise DataError(f"{path} changed while it was read; wait until its writer is done")
    return after, digest


def _remedy(folder: Path, manifest: Manifest) -> str:
    if is_mirror(folder):
        return "remove it and it is downloaded again"
    return (
        f"remove it and run the same `smpl-data prepare {manifest.dataset} --out {folder}` again, which mends the set"
    )


def _places(folder: Path) -> tuple[Path, Path]:
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]
    return folder / MEMORY, cache_folder() / "verified" / f"{name}.json"


def _read(place: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(place.read_bytes())
        return content if isinstance(content, dict) else {}
    return {}
