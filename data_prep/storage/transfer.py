"""Transfer the bytes at a URL: the web through requests, any other scheme through fsspec's drivers.

:func:`retry` is the one loop that repeats failed transfers of both. The class ``Retry`` of urllib3 could not replace
it: it does not repeat a transfer whose body is cut in the middle, and the drivers do not use it.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import IncompleteRead
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from data_prep.storage.url import Url
from data_prep.system.errors import DataError, UnreachableError, UsageError

if TYPE_CHECKING:
    from requests import Response

ATTEMPTS = 5
PAUSE_SECONDS = 0.5
"""The pause after the first attempt; it doubles with each further one."""
TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 20
TRANSIENT_STATUSES = {408, 425, 429}
"""HTTP statuses below 500 after which the next attempt may succeed."""
CHECK = "check the URL of the set and your rights there"

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Interrupted(Exception):  # noqa: N818 - no user sees it
    """The transfer failed, and another attempt may succeed."""


class CannotResume(Exception):  # noqa: N818 - no user sees it
    """The server has no bytes from the requested one on, or sends the file from its beginning only."""


class Refused(Exception):  # noqa: N818 - no user sees it
    """The transfer failed, and another attempt would fail as well."""


class Body(NamedTuple):
    """The body of a web server's answer."""

    size: int
    """Bytes that will come; 0 if the server does not say."""
    chunks: Generator[bytes]


@dataclass(frozen=True)
class Received:
    """What a transfer wrote: the number of bytes and their sha256."""

    size: int
    sha256: str


def receive(url: Url, file: BinaryIO, limit: int) -> Received:
    """Write what is at the URL into the file, from the file's start.

    Raises:
        UnreachableError: the network or the server failed at every attempt.
        DataError: nothing is there, access is denied, or there are more than ``limit`` bytes.
        UsageError: the URL is malformed, or the driver for its scheme is not installed.
        OSError: the file cannot be written.
    """
    try:
        return retry(partial(_receive_once, url, file, limit))
    except Interrupted as error:
        reason = f"({error}), tried {ATTEMPTS} times"
        raise UnreachableError(f"cannot download {url.public} {reason}; check the URL and the network") from None
    except Refused as error:
        raise DataError(f"{url.public}: {error}; {CHECK}") from None


def retry(transfer: Callable[[], T]) -> T:
    """Return what ``transfer`` returns; call it again, after a pause, if it is interrupted.

    Raises:
        Interrupted: all attempts were interrupted.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return transfer()
        except Interrupted as error:
            logger.debug("transfer interrupted (%s), attempt %d of %d", error, attempt + 1, ATTEMPTS)
        time.sleep(PAUSE_SECONDS * 2**attempt)
    return transfer()


def _receive_once(url: Url, file: BinaryIO, limit: int) -> Received:
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    with closing(READERS.get(url.scheme, read_driver)(url)) as chunks:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise DataError(f"{url.public}: more than the {limit} bytes that are expected; {CHECK}")
            file.write(chunk)
            digest.update(chunk)
    file.truncate(size)
    return Received(size, digest.hexdigest())


def read_web(url: Url) -> Generator[bytes]:
    """Yield the bytes at an HTTP URL. Raises as :func:`open_web` does."""
    yield from open_web(url).chunks


def open_web(url: Url, start: int = 0) -> Body:
    """Request the bytes at an HTTP URL from byte ``start`` on. Raises UsageError, Refused, Interrupted, CannotResume.

    The chunks raise Interrupted, too. A password is not sent on to another host.
    """
    from requests.auth import HTTPBasicAuth  # noqa: PLC0415

    from data_prep.storage.http_session import http_session  # noqa: PLC0415

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    auth = HTTPBasicAuth(*url.login) if url.login else None
    with _network_errors(url), http_session() as session:
        response = session.get(url.without_login, auth=auth, headers=headers, stream=True, timeout=TIMEOUT_SECONDS)
    if failure := _failure(response, url, start):
        response.close()
        raise failure
    size = response.headers.get("Content-Length", "")
    return Body(int(size) if size.isdecimal() else 0, _chunks(response, url))


def _failure(response: "Response", url: Url, start: int) -> Exception | None:
    status, content_range = response.status_code, response.headers.get("Content-Range", "")
    success = 200 <= status < 300
    if start and (status == 416 or (success and not content_range.startswith(f"bytes {start}-"))):
        return CannotResume("the server cannot resume the transfer")
    transient = status >= 500 or status in TRANSIENT_STATUSES
    reason = url.redact(f"the server answers {status} {response.reason}")
    return None if success else (Interrupted if transient else Refused)(reason)


def _chunks(response: "Response", url: Url) -> Generator[bytes]:
    with _network_errors(url), response:
        yield from response.raw.stream(CHUNK_BYTES, decode_content=False)


@contextmanager
def _network_errors(url: Url) -> Iterator[None]:
    from requests.exceptions import InvalidURL, TooManyRedirects  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        yield
    except InvalidURL as error:
        raise UsageError(f"{url.public}: {url.redact(str(error))}; {CHECK}") from None
    except TooManyRedirects as error:
        raise Refused(url.redact(str(error))) from None
    except (OSError, HTTPError, ValueError) as error:
        raise Interrupted(url.redact(_reason(error))) from None


def _reason(error: BaseException) -> str:
    """Return the text of the first error of the chain: those of requests and urllib3 repeat the whole URL."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    if isinstance(error, IncompleteRead):
        return "the transfer was cut short"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def read_driver(url: Url) -> Generator[bytes]:
    """Yield the bytes at any URL that fsspec knows. Raises UsageError, Refused or Interrupted."""
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped] # noqa: PLC0415

        system, path = url_to_fs(url.text)
    except ImportError as error:
        install = "pip install smpl-pipeline[remote]"
        raise UsageError(f"{url.public}: {url.redact(str(error))}; {install} installs the common drivers") from None
    except ValueError as error:
        raise UsageError(f"{url.public}: {url.redact(str(error))}; {CHECK}") from None
    except Exception as error:  # every driver has errors of its own
        raise Interrupted(url.redact(f"{type(error).__name__}: {error}")) from None
    try:
        with system.open(path, "rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                yield chunk
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise Refused(url.redact(error.strerror or type(error).__name__)) from None
    except Exception as error:
        raise Interrupted(url.redact(f"{type(error).__name__}: {error}")) from None


READERS: Mapping[str, Callable[[Url], Generator[bytes]]] = {"http": read_web, "https": read_web}
