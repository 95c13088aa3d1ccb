"""A local mirror of a set at a URL: a folder in the cache, whose files are downloaded when they are first needed.

A mirror belongs to one version of the set, because its folder is named after the fingerprint of the manifest. A file
gets its final name after its checksum was compared. Many threads and processes may use a mirror at the same time; each
file is downloaded once for all of them.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from data_prep.dataset.checksums import ExpectedFile, expected_files
from data_prep.dataset.manifest import MANIFEST, Manifest, load_manifest, save_manifest
from data_prep.dataset.mirror_cache import VARIABLE, lock_path, mark_used, reserve_space
from data_prep.dataset.mirror_url import is_mirror, load_url, save_url
from data_prep.dataset.verification_record import file_state, remember_verified
from data_prep.storage.transfer import Received, receive
from data_prep.storage.url import Url
from data_prep.system.atomic_files import PARTIAL, fsync_folder, locked, make_folder
from data_prep.system.errors import DataError, UsageError
from data_prep.system.paths import cache_folder

MAX_MANIFEST_BYTES = 1 << 30
INDEX_THREADS = 8
"""Indices that are downloaded at the same time."""
COMMAND = "smpl-data prepare"

T = TypeVar("T")


def mirror(url: str) -> Path:
    """Return the local folder of the set at ``url``, with its manifest and indices; tars are downloaded later.

    The manifest is downloaded each time. If the set has changed, the files of its former version are removed.

    Raises:
        UnreachableError: ``url`` cannot be reached.
        DataError: there is no prepared set at ``url``, or the cache cannot be written to.
        UsageError: ``url`` is malformed, or the driver for this kind of URL is not installed.
    """
    source = _parse(url)
    sets = cache_folder() / "sets"
    make_folder(sets)
    key = hashlib.sha256(source.public.encode()).hexdigest()[:16]
    with locked(sets / f".{key}.lock"):
        manifest = _fetch_manifest(source.file(MANIFEST), sets / f".{key}.incoming")
        folder = sets / f"{key}-{manifest.fingerprint[:16]}"
        _install(source, manifest, folder)
        for former in set(sets.glob(f"{key}-*")) - {folder}:
            _remove_files(former)
    with ThreadPoolExecutor(INDEX_THREADS) as pool:
        list(pool.map(partial(local_path, folder), [shard.index_name for shard in manifest.shards]))
    return folder


def local_path(folder: Path, name: str) -> Path:
    """Return the path of a file of a set; in a mirror, download the file first if it is not there.

    Another process may need the space and remove a tar of a mirror at any time, so open tars through
    :func:`use_file`. A file that is open stays readable.

    Raises:
        UnreachableError: the file cannot be downloaded now.
        DataError: the URL has no such file, its checksum is wrong, or it does not fit on the disk.
        UsageError: the file is larger than the whole cache may be.
    """
    path = folder / name
    if is_mirror(folder) and not mark_used(path):
        with _pinned(folder, name):
            pass
    return path


def use_file(folder: Path, name: str, use: Callable[[Path], T]) -> T:
    """Call a function such as ``open`` with the path of a file, which is not removed during the call.

    Return what the function returns. The function must not ask for another file of the set.

    Raises what ``use`` and what :func:`local_path` raise.
    """
    path = local_path(folder, name)
    try:
        return use(path)
    except FileNotFoundError:
        if not is_mirror(folder):
            raise
    with _pinned(folder, name):
        return use(path)


def _parse(text: str) -> Url:
    try:
        url = Url(text.strip())
        url.file(MANIFEST)
    except ValueError as error:
        raise UsageError(f"the URL of the set is malformed: {error}") from None
    return url


def _fetch_manifest(url: Url, temporary: Path) -> Manifest:
    path = temporary / MANIFEST
    make_folder(temporary)
    try:
        _receive(url, path, MAX_MANIFEST_BYTES)
        return load_manifest(temporary)
    except DataError as error:
        if str(path) not in str(error):
            raise
        reason = str(error).replace(str(path), url.public)
        raise DataError(f"{reason}; the URL must be that of the folder with {MANIFEST}") from None
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _install(url: Url, manifest: Manifest, folder: Path) -> None:
    make_folder(folder)
    with suppress(DataError, OSError, ValueError):
        if load_url(folder) == url and (folder / MANIFEST).read_text() == manifest.to_json():
            return
    save_url(url, folder)
    save_manifest(manifest, folder)


def _remove_files(folder: Path) -> None:
    """Remove all files but the one with the URL, which processes that still use the folder need for their error."""
    with suppress(OSError):
        (folder / MANIFEST).unlink(missing_ok=True)
        for path in folder.iterdir():
            if path.suffix in {".tar", ".idx", ".json", PARTIAL}:
                path.unlink(missing_ok=True)


def _expected(folder: Path, name: str) -> tuple[ExpectedFile, int]:
    """Return what the manifest says of a file, and the most bytes that it may have. Raises DataError."""
    if not (folder / MANIFEST).exists():
        raise DataError(f"{load_url(folder).public} has changed since it was opened; run the same command again")
    try:
        return _expected_by_name(folder)[name]
    except KeyError:
        raise DataError(f"{load_url(folder).public}: its manifest names no {name}; a mirror has tars only") from None


@lru_cache(maxsize=8)
def _expected_by_name(folder: Path) -> dict[str, tuple[ExpectedFile, int]]:
    # The result can be cached because a mirror's manifest never changes. An index is always smaller than its tar.
    return {
        file.name: (file, shard.bytes) for shard in load_manifest(folder).shards for file in expected_files([shard])
    }


@contextmanager
def _pinned(folder: Path, name: str) -> Iterator[None]:
    """Download a file of a mirror if it is not there; hold its lock, so nobody removes it, until the ``with`` ends."""
    path, wanted = folder / name, _expected(folder, name)
    with locked(lock_path(path)):
        if not mark_used(path):
            _download(folder, wanted, path)
        yield


def _download(folder: Path, wanted: tuple[ExpectedFile, int], path: Path) -> None:
    file, limit = wanted
    url = load_url(folder).file(file.name)
    part = path.with_name(path.name + PARTIAL)
    # Remove what a killed call has left first; otherwise two calls that wait for space could wait for each other.
    part.unlink(missing_ok=True)
    try:
        if file.size is not None:
            reserve_space(path, file.size)
        _check_received(_receive(url, part, limit), file, url)
        state = part.stat()
        part.replace(path)
        fsync_folder(folder)
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    if file.size is not None:  # hashing the many small indices once more costs less than recording each
        remember_verified(folder, {file.name: file_state(state, file.sha256)})


def _receive(url: Url, part: Path, limit: int) -> Received:
    with part.open("r+b" if part.exists() else "wb") as file:
        received = receive(url, file, limit)
        file.flush()
        os.fsync(file.fileno())
    return received


def _check_received(received: Received, file: ExpectedFile, url: Url) -> None:
    """Raise DataError, with the remedy for a mirror, if :meth:`ExpectedFile.mismatch` finds a difference."""
    if problem := file.mismatch(received.size, received.sha256):
        remedy = f"if the set has changed there, run the same command again, else repair it there with `{COMMAND}`"
        raise DataError(f"{url.public}: {problem}; {remedy}")


def _cannot_write(path: Path, error: OSError) -> DataError:
    reason = error.strerror or str(error)
    return DataError(
        f"cannot write {path}: {reason}; free some space there, lower ${VARIABLE}, or choose another $SMPL_CACHE"
    )
