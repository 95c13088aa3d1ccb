"""Bring the bytes of an address into a file: the web by the standard library, anything else by fsspec's drivers.

A transfer that the network cuts is tried again with growing pauses; an answer that will not change is not.
"""

import base64
import hashlib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, InvalidURL
from typing import BinaryIO

from data_prep.storage.download import CHUNK_BYTES, TIMEOUT_SECONDS, may_pass
from data_prep.storage.url import Address
from data_prep.system.errors import DataError, UnreachableError, UsageError

ATTEMPTS = 5
PAUSE_SECONDS = 0.5  # doubled each time
CHECK = "check the address of the set and your rights there"


class Interrupted(Exception):  # noqa: N818 - no user sees it
    """A transfer that may go better the next time."""


@dataclass(frozen=True)
class Received:
    """What came: the number of bytes and their sha256."""

    size: int
    sha256: str


def receive(address: Address, file: BinaryIO, limit: int) -> Received:
    """Write what lies at the address into the file, from its start.

    Raises:
        UnreachableError: the network or the server fails time and again.
        DataError: nothing is there, or no rights, or more than ``limit`` bytes.
        UsageError: it is no address, or the driver for this kind is not installed.
        OSError: the file cannot be written.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            return _receive_once(address, file, limit)
        except Interrupted as error:
            reason = address.hide(str(error))
    raise UnreachableError(
        f"cannot download {address.shown} ({reason}), tried {ATTEMPTS} times; check address and network"
    )


def _receive_once(address: Address, file: BinaryIO, limit: int) -> Received:
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    with closing(READERS.get(address.scheme, read_driver)(address)) as chunks:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise DataError(f"{address.shown}: more than the {limit} bytes that are expected; {CHECK}")
            file.write(chunk)
            digest.update(chunk)
    file.truncate(size)
    return Received(size, digest.hexdigest())


def read_web(address: Address) -> Generator[bytes]:
    """Yield the body of a web address. Raises DataError or UsageError for good, Interrupted for now."""
    try:
        request = urllib.request.Request(address.open_url)  # noqa: S310 - the scheme chose this reader
        if address.login:  # not to be sent on to where a redirection leads
            token = base64.b64encode(address.login.encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {token}")
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            expected = response.getheader("Content-Length")
            yield from _chunks(response, int(expected) if expected else None)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {error.reason}"
        if may_pass(error.code):
            raise Interrupted(answer) from None
        raise DataError(address.hide(f"{address.shown}: {answer}; {CHECK}")) from None
    except InvalidURL as error:
        raise UsageError(f"{address.shown}: {address.hide(str(error))}; {CHECK}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise Interrupted(str(getattr(error, "reason", "") or error or type(error).__name__)) from None


def read_driver(address: Address) -> Generator[bytes]:
    """Yield what lies at any address that fsspec knows. Raises a UserError for good, Interrupted for now."""
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped] # noqa: PLC0415

        system, path = url_to_fs(address.url)
    except ImportError as error:
        install = "pip install smpl-pipeline[remote]"
        raise UsageError(f"{address.shown}: {address.hide(str(error))}; {install} brings the common drivers") from None
    except ValueError as error:
        raise UsageError(f"{address.shown}: {address.hide(str(error))}; {CHECK}") from None
    except Exception as error:  # every driver has errors of its own
        raise Interrupted(f"{type(error).__name__}: {error}") from None
    try:
        with system.open(path, "rb") as content:
            yield from _chunks(content, None)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{address.shown}: {address.hide(reason)}; {CHECK}") from None
    except Exception as error:
        raise Interrupted(f"{type(error).__name__}: {error}") from None


def _chunks(content: BinaryIO, expected: int | None) -> Generator[bytes]:
    size = 0
    while chunk := content.read(CHUNK_BYTES):
        size += len(chunk)
        yield chunk
    if expected is not None and size < expected:
        raise Interrupted("the transfer was cut short")


READERS: Mapping[str, Callable[[Address], Generator[bytes]]] = {"http": read_web, "https": read_web}
