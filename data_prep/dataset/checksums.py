"""Compare the files of a prepared set with the sizes and sha256 that its manifest states.

:meth:`ExpectedFile.mismatch` is the one place in which the checksum of a tar, of its index or of a RecordIO file is
compared, whether the file was read from disk, streamed or downloaded. Files are read in chunks, several at a time, so
memory use stays flat. ``verification_record.py`` records which files need not be read again.
"""

import hashlib
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from os import fstat, stat_result
from pathlib import Path
from typing import Literal

from data_prep.dataset.manifest import Manifest, Shard
from data_prep.dataset.mirror_url import is_mirror
from data_prep.dataset.verification_record import file_state, is_verified, load_verified, remember_verified
from data_prep.system.errors import DataError
from data_prep.system.workers import available_cpus

MAX_THREADS = 8
REMEDY = "remove what is left of it and run the same `smpl-data prepare` again"
CLOCK_TICK_NS = 100_000_000
"""Nanoseconds. A file that changes twice within one tick of the clock keeps its time of change, so a file that changed
less than this long ago is not recorded as verified."""

Mode = Literal["always", "once", "never"]
"""When the sha256 of a file is compared: at every check, once until the file changes, or never."""


@dataclass(frozen=True)
class ExpectedFile:
    """What a prepared set states about one of its files."""

    name: str
    size: int | None
    """Bytes; None where the set does not state them, as for the index of a tar."""
    sha256: str
    stated_in: str = "the manifest"
    """What states the size and the sha256, as an error message names it."""

    def mismatch(self, size: int, sha256: str | None = None) -> str | None:
        """Return a description of how a file of this size and sha256 differs from this one; None if it does not.

        Without ``sha256`` only the sizes are compared.
        """
        if self.size not in {None, size}:
            return f"{size} bytes, {self.stated_in} says {self.size}"
        if sha256 not in {None, self.sha256}:
            return f"sha256 differs from {self.stated_in}"
        return None

    def mismatch_of(self, content: bytes) -> str | None:
        """Return a description of how the bytes of a whole file differ from this one; None if they do not."""
        return self.mismatch(len(content), hashlib.sha256(content).hexdigest())


def expected_tar(shard: Shard) -> ExpectedFile:
    """Return what the manifest says of the tar of a shard."""
    return ExpectedFile(shard.name, shard.bytes, shard.sha256)


def expected_index(shard: Shard) -> ExpectedFile:
    """Return what the manifest says of the index of a shard's tar."""
    return ExpectedFile(shard.index_name, None, shard.index)


def expected_files(shards: Iterable[Shard]) -> list[ExpectedFile]:
    """Return what the manifest says of the tars and the indices of some shards."""
    return [file for shard in shards for file in (expected_tar(shard), expected_index(shard))]


def check_file(folder: Path, file: ExpectedFile, *, may_be_missing: bool = False) -> stat_result | None:
    """Read a file of a set, compare its size and its sha256, and return its state.

    Return None if the file is missing and ``may_be_missing`` is True.

    Raises:
        DataError: the file is missing, cannot be read, differs, or changes while it is read.
    """
    path = folder / file.name
    if check_size(folder, file, may_be_missing=may_be_missing) is None:
        return None
    try:
        state, sha256 = hash_file(path)
    except FileNotFoundError as error:
        if may_be_missing:
            return None
        raise DataError(f"{path}: {error.strerror}") from None
    if problem := file.mismatch(state.st_size, sha256):
        raise DataError(f"{path}: {problem}")
    return state


def check_size(folder: Path, file: ExpectedFile, *, may_be_missing: bool = False) -> stat_result | None:
    """Compare only the size of a file, and return the file's state.

    Return None if the file is missing and ``may_be_missing`` is True.

    Raises:
        DataError: the file is missing or has another size.
    """
    path = folder / file.name
    try:
        state = path.stat()
    except OSError as error:
        if may_be_missing:
            return None
        raise DataError(f"{path}: {error.strerror}") from None
    if problem := file.mismatch(state.st_size):
        raise DataError(f"{path}: {problem}")
    return state


def check_all(folder: Path, files: Iterable[ExpectedFile], *, may_be_missing: bool = False) -> list[stat_result | None]:
    """Check several files at a time as :func:`check_file` does, and record nothing. Raises DataError."""
    with ThreadPoolExecutor(min(MAX_THREADS, available_cpus())) as pool:
        return list(pool.map(partial(check_file, folder, may_be_missing=may_be_missing), files))


def check_files(folder: Path, files: Iterable[ExpectedFile], mode: Mode, *, may_be_missing: bool = False) -> None:
    """Compare the sizes of files and, unless ``mode`` is ``never``, their sha256; record those that are right.

    With ``once``, a file that is recorded as verified and has kept its size, time of change and inode is not read.

    Raises:
        DataError: a file is missing, differs, or changes while it is read. The caller adds the remedy to the message.
    """
    sizes = ((file, check_size(folder, file, may_be_missing=may_be_missing)) for file in files)
    found = {file: state for file, state in sizes if state}
    if mode == "never":
        return
    verified = load_verified(folder) if mode == "once" else []
    unread = [file for file, state in found.items() if not is_verified(verified, file.name, state, file.sha256)]
    states = check_all(folder, unread, may_be_missing=may_be_missing)
    newest = time.time_ns() - CLOCK_TICK_NS
    good = zip(unread, states, strict=True)
    old = {file.name: file_state(state, file.sha256) for file, state in good if state and state.st_mtime_ns < newest}
    remember_verified(folder, old)


def check_shard(folder: Path, shard: Shard) -> None:
    """Read the tar and the index of one shard and compare them with the manifest. Raises DataError."""
    try:
        for file in expected_files([shard]):
            check_file(folder, file, may_be_missing=is_mirror(folder))
    except DataError as error:
        raise DataError(f"{error}; {REMEDY}") from None


def damaged_shards(folder: Path, shards: Iterable[Shard]) -> dict[str, DataError]:
    """Check several shards at a time, as :func:`check_shard` does, and return the errors by the shards' names."""

    def find_error(shard: Shard) -> DataError | None:
        try:
            check_shard(folder, shard)
        except DataError as error:
            return error
        return None

    shards = list(shards)
    with ThreadPoolExecutor(min(MAX_THREADS, available_cpus())) as pool:
        errors = zip(shards, pool.map(find_error, shards), strict=True)
        return {shard.name: error for shard, error in errors if error}


def missing_shards(folder: Path, shards: Iterable[Shard]) -> list[Shard]:
    """Return the shards whose tar is missing or has another size, or whose index is missing or empty."""

    def is_present(shard: Shard) -> bool:
        with suppress(OSError):
            tar, index = (folder / name for name in (shard.name, shard.index_name))
            return tar.stat().st_size == shard.bytes and index.stat().st_size > 0
        return False

    return [shard for shard in shards if not is_present(shard)]


def check_shards(folder: Path, manifest: Manifest, shards: Iterable[Shard], mode: Mode) -> None:
    """Check the tars and indices of shards as :func:`check_files` does.

    A file that a mirror has not downloaded yet may be missing: it is checked when it is downloaded.

    Raises:
        DataError: a file is missing, damaged or changes while it is read.
    """
    try:
        check_files(folder, expected_files(shards), mode, may_be_missing=is_mirror(folder))
    except DataError as error:
        raise DataError(f"{error}; {_remedy(folder, manifest)}") from None


def hash_file(path: Path) -> tuple[stat_result, str]:
    """Return the state of a file and its sha256 in hexadecimal, read in chunks.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it cannot be read, or it changes while it is read.
    """
    try:
        with path.open("rb") as opened:
            before = fstat(opened.fileno())
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        after = path.stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if file_state(before, sha256) != file_state(after, sha256):
        raise DataError(f"{path} changed while it was read; wait until its writer is done")
    return after, sha256


def _remedy(folder: Path, manifest: Manifest) -> str:
    if is_mirror(folder):
        return "remove it and it is downloaded again"
    return (
        f"remove it and run the same `smpl-data prepare {manifest.dataset} --out {folder}` again, which repairs the set"
    )
