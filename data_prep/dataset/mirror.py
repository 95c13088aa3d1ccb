"""Sets behind a URL: a folder in the cache stands for one, and its files come when they are first needed.

A mirror is of one state of the set: the folder's name holds the manifest's fingerprint. A file gets its name once it is
what the manifest says. Many threads and processes may use a mirror; one of them brings a file for all.
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
from data_prep.dataset.mirror_cache import VARIABLE, lock_of, reserve, touch
from data_prep.dataset.verified_files import file_state, remember_verified
from data_prep.storage.transfer import Received, receive
from data_prep.storage.url import Url, is_mirror, is_remote, load_url, save_url
from data_prep.system.atomic_files import PARTIAL, fsync_folder, locked, make_folder
from data_prep.system.errors import DataError, UsageError
from data_prep.system.paths import cache_folder

__all__ = ["is_mirror", "is_remote", "local_path", "mirror", "use_file"]

MAX_MANIFEST_BYTES = 1 << 30
INDEX_THREADS = 8
COMMAND = "smpl-data prepare"

T = TypeVar("T")


def mirror(url: str) -> Path:
    """Return the folder that stands for the set at ``url``, with its manifest and indices; the tars come later.

    The manifest is fetched each time. If the set has changed, all that was kept of its former state is dropped.

    Raises:
        UnreachableError: ``url`` cannot be reached.
        DataError: there is no prepared set at ``url``, or the cache cannot be written.
        UsageError: it is no URL, or the driver for this kind of URL is not installed.
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
            _drop(former)
    with ThreadPoolExecutor(INDEX_THREADS) as pool:
        list(pool.map(partial(local_path, folder), [shard.index_name for shard in manifest.shards]))
    return folder


def local_path(folder: Path, name: str) -> Path:
    """Return where a file of a set lies: in an ordinary folder as it is, in a mirror downloaded first if need be.

    Another process may need the room and remove a mirror's tar at once, so open it by :func:`use_file`. A file that is
    open stays readable.

    Raises:
        UnreachableError: it cannot be downloaded now.
        DataError: it is not there, is not what the manifest says, or does not fit on the disk.
        UsageError: it is greater than the cache may be.
    """
    path = folder / name
    if is_mirror(folder) and not touch(path):
        with _held(folder, name):
            pass
    return path


def use_file(folder: Path, name: str, use: Callable[[Path], T]) -> T:
    """Return what ``use``, such as ``open``, makes of a file of a set; a mirror's tar stays at least that long.

    ``use`` must not ask for another file. Raises what ``use`` raises, and as :func:`local_path`.
    """
    path = local_path(folder, name)
    try:
        return use(path)
    except FileNotFoundError:
        if not is_mirror(folder):
            raise
    with _held(folder, name):
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
        raise _cannot_keep(path, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _install(url: Url, manifest: Manifest, folder: Path) -> None:
    make_folder(folder)
    with suppress(DataError, OSError, ValueError):
        if load_url(folder) == url and (folder / MANIFEST).read_text() == manifest.to_json():
            return
    save_url(url, folder)
    save_manifest(manifest, folder)


def _drop(folder: Path) -> None:
    """Remove all but the origin, by which those who still use the folder learn what happened."""
    with suppress(OSError):
        (folder / MANIFEST).unlink(missing_ok=True)
        for path in folder.iterdir():
            if path.suffix in {".tar", ".idx", ".json", PARTIAL}:
                path.unlink(missing_ok=True)


def _expected(folder: Path, name: str) -> tuple[ExpectedFile, int]:
    """What the manifest says of a file, and the most bytes it may have. Raises DataError."""
    if not (folder / MANIFEST).exists():
        raise DataError(f"{load_url(folder).public} has changed since it was opened; run the same command again")
    try:
        return _listing(folder)[name]
    except KeyError:
        raise DataError(f"{load_url(folder).public}: its manifest names no {name}; a mirror has tars only") from None


@lru_cache(maxsize=8)
def _listing(folder: Path) -> dict[str, tuple[ExpectedFile, int]]:
    # A mirror's manifest never changes. An index is always smaller than its tar.
    return {
        file.name: (file, shard.bytes) for shard in load_manifest(folder).shards for file in expected_files([shard])
    }


@contextmanager
def _held(folder: Path, name: str) -> Iterator[None]:
    """Hold a file of a mirror, which is there and stays there; it is downloaded if need be."""
    path, wanted = folder / name, _expected(folder, name)
    with locked(lock_of(path)):
        if not touch(path):
            _download(folder, wanted, path)
        yield


def _download(folder: Path, wanted: tuple[ExpectedFile, int], path: Path) -> None:
    file, limit = wanted
    url = load_url(folder).file(file.name)
    part = path.with_name(path.name + PARTIAL)
    part.unlink(missing_ok=True)  # of a killed call; else two that wait for room could wait for each other's
    try:
        if file.size is not None:
            reserve(path, file.size)
        _compare(_receive(url, part, limit), file, url)
        state = part.stat()
        part.replace(path)
        fsync_folder(folder)
    except OSError as error:
        raise _cannot_keep(path, error) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    if file.size is not None:  # indices are small and many: hashing them once more is less than noting each
        remember_verified(folder, {file.name: file_state(state, file.sha256)})


def _receive(url: Url, part: Path, limit: int) -> Received:
    with part.open("r+b" if part.exists() else "wb") as file:
        received = receive(url, file, limit)
        file.flush()
        os.fsync(file.fileno())
    return received


def _compare(received: Received, file: ExpectedFile, url: Url) -> None:
    if problem := file.mismatch(received.size, received.sha256):
        remedy = f"if the set has changed there, run the same command again, else repair it there with `{COMMAND}`"
        raise DataError(f"{url.public}: {problem}; {remedy}")


def _cannot_keep(path: Path, error: OSError) -> DataError:
    reason = error.strerror or str(error)
    return DataError(
        f"cannot write {path}: {reason}; make room there, lower ${VARIABLE}, or choose another $SMPL_CACHE"
    )
