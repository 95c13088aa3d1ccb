"""Download a published file once into the cache; an interrupted transfer goes on where it stopped.

It tries again as long as each try brings bytes; offline it fails at once.
"""

import hashlib
import os
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from data_prep.system.atomic_files import cannot_write, fsync_folder, locked, make_folder
from data_prep.system.errors import DataError, UnreachableError, UserError
from data_prep.system.paths import cache_folder

ATTEMPTS = 5
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 20
PASSING = {408, 425, 429}  # answers below 500 after which the next try may go better
NETWORK_ERRORS = (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError)


@dataclass(frozen=True)
class Remote:
    """A published file and the md5 that its publisher or torchvision states."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rsplit("/", 1)[-1]


def fetch(remote: Remote) -> Path:
    """The cached file, downloaded if it is not there.

    Raises:
        UnreachableError: the network or the server fails; it says what to put where.
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


def _download(remote: Remote, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        before = _size(part)
        failure: type[UserError] = UnreachableError
        try:
            if _transfer(remote.url, part):
                break
            reason = "the transfer was cut short"
        except urllib.error.HTTPError as error:
            reason, failure = f"the server answers {error.code} {error.reason}", _failure(error.code)
        except NETWORK_ERRORS as error:
            reason = str(getattr(error, "reason", error))
        except OSError as error:
            raise cannot_write(part, error) from None
        if attempt == ATTEMPTS or _size(part) == before:
            raise failure(
                f"cannot download {remote.url} ({reason}); put the file at {target} or name a copy with --source"
            )
        time.sleep(PAUSE_SECONDS * attempt)
    _accept(remote, part, target)


def may_pass(code: int) -> bool:
    """Whether a later try may get another answer than this HTTP status, which is no success."""
    return code >= 500 or code in PASSING


def _failure(code: int) -> type[UserError]:
    return UnreachableError if may_pass(code) else DataError


def _transfer(url: str, part: Path) -> bool:
    """Ask for the bytes that are missing and append them; True when the server's whole file is there."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - our URLs
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            return _append(response, part, have)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or longer: start over
            part.unlink()
            return False
        raise


def _append(response: HTTPResponse, part: Path, have: int) -> bool:
    from tqdm import tqdm  # noqa: PLC0415

    resumed = response.status == 206 and (response.getheader("Content-Range") or "").startswith(f"bytes {have}-")
    expected = int(response.getheader("Content-Length") or 0)
    received = 0
    bar = tqdm(desc=part.stem, total=expected, unit="B", unit_scale=True, disable=None)
    with bar, part.open("ab" if resumed else "wb") as file:
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            received += len(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    return received >= expected


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _accept(remote: Remote, part: Path, target: Path) -> None:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if digest != remote.md5:
        part.unlink()
        raise DataError(
            f"{remote.url}: md5 {digest}, published is {remote.md5}; run again or name a copy with --source"
        )
    part.replace(target)
    fsync_folder(target.parent)
