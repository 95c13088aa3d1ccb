"""Download a published file once into the cache; an interrupted transfer resumes where it stopped.

There are at most five attempts, and none after one that brought no bytes, so without a network it fails at once.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path

from data_prep.storage.transfer import CannotResume, Interrupted, Refused, open_web, retry
from data_prep.storage.url import Url
from data_prep.system.atomic_files import cannot_write, fsync_folder, locked, make_folder
from data_prep.system.errors import DataError, UnreachableError
from data_prep.system.paths import cache_folder
from data_prep.system.progress_bar import progress_bar


@dataclass(frozen=True)
class PublishedFile:
    """A published file and the md5 that its publisher or torchvision states."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rsplit("/", 1)[-1]


class _NoProgressError(Exception):
    """An attempt brought no bytes."""


def fetch(remote: PublishedFile) -> Path:
    """Return the cached file; download it first if it is not there.

    Raises:
        UnreachableError: the network or the server fails; the text says which file to put where.
        DataError: the server does not have the file, it is not the published one, or it cannot be written.
    """
    target = cache_folder() / remote.name
    if target.exists():
        return target
    make_folder(target.parent)
    with locked(target.with_name(f".{target.name}.lock")):
        if not target.exists():
            _download(remote, target)
    return target


def _download(remote: PublishedFile, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    remedy = f"put the file at {target} or name a copy with --source"
    try:
        retry(partial(_resume, Url(remote.url), part))
    except Refused as error:
        raise DataError(f"cannot download {remote.url} ({error}); {remedy}") from None
    except (Interrupted, _NoProgressError) as error:
        raise UnreachableError(f"cannot download {remote.url} ({error}); {remedy}") from None
    except OSError as error:
        raise cannot_write(part, error) from None
    _accept(remote, part, target)


def _resume(url: Url, part: Path) -> None:
    """Append the bytes that are missing; start over if the server cannot resume."""
    size = _size(part)
    try:
        body = open_web(url, size)
        with part.open("ab") as file, progress_bar(body.size, "bytes", part.stem) as advance:
            for chunk in body.chunks:
                file.write(chunk)
                advance(len(chunk))
    except CannotResume:
        part.unlink()
        _resume(url, part)
    except Interrupted as error:
        if _size(part) == size:
            raise _NoProgressError(str(error)) from None
        raise


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _accept(remote: PublishedFile, part: Path, target: Path) -> None:
    """Give a downloaded file its name if it is the published one, else remove it."""
    try:
        with part.open("rb") as file:
            check_md5(file, remote.md5, remote.url, "run again or name a copy with --source")
            os.fsync(file.fileno())
    except DataError:
        part.unlink()
        raise
    part.replace(target)
    fsync_folder(target.parent)


def check_md5(
    file: BytesIO | BufferedReader | FileIO, md5: str, name: object, remedy: str = "get it again or use --checksum off"
) -> None:
    """Compare a file with the md5 that its publisher states. Raises DataError with the file's ``name``."""
    file.seek(0)
    found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise DataError(f"{name} is not the published file (md5 {found}, published is {md5}); {remedy}")
