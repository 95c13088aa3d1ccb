"""Where a set behind a URL lies: the addresses of its files, and how to speak of them without their secrets."""

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from data_prep.system.atomic_files import PARTIAL, cannot_write, fsync_folder
from data_prep.system.errors import DataError

ORIGIN = ".origin"
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)
USER = re.compile(r"(?<=//)[^/]*@")
WEB = ("http", "https")


@dataclass(frozen=True)
class Address:
    """The URL of a set or of one of its files; ``url`` may hold a user, a password and, for the web, a query."""

    url: str

    @property
    def scheme(self) -> str:
        """What stands before the colon, in small letters."""
        return self.url.partition(":")[0].lower()

    def file(self, name: str) -> "Address":
        """Return the address of a file in this folder; a query, such as a signature, stays behind the path."""
        if self.scheme not in WEB:
            return Address(f"{self.url.rstrip('/')}/{name}")
        parts = urlsplit(self.url)
        return Address(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment="")))

    @property
    def shown(self) -> str:
        """The URL without user, password and query: what may be printed, and what names the set in the cache."""
        return USER.sub("", self._bare).rstrip("/")

    @property
    def open_url(self) -> str:
        """The URL without user and password, which go into a header."""
        return USER.sub("", self.url)

    @property
    def login(self) -> str | None:
        """``user:password``, decoded; None if the URL has none."""
        found = USER.search(self.url)
        user, _, password = found[0][:-1].partition(":") if found else ("", "", "")
        return f"{unquote(user)}:{unquote(password)}" if found else None

    def hide(self, text: str) -> str:
        """Return someone else's error text on one line, with this address in it as it may be printed."""
        secrets = {self.url: self.shown, self.open_url: self.shown}
        if self.login:
            secrets |= {part: "***" for part in self._secrets() if part}
        for secret, public in secrets.items():
            text = text.replace(secret, public)
        return " ".join(text.split())

    @property
    def _bare(self) -> str:
        return self.url.partition("?")[0].partition("#")[0] if self.scheme in WEB else self.url

    def _secrets(self) -> tuple[str, str]:
        written = USER.findall(self.url)[0][:-1].partition(":")[2]
        return written, unquote(written)


def is_remote(text: str) -> bool:
    """Whether this names a set by a URL rather than by a folder."""
    return SCHEME.match(text) is not None


def is_mirror(folder: Path) -> bool:
    """Whether the folder stands for a set behind a URL, whose files come when they are needed."""
    return (folder / ORIGIN).exists()


def load_origin(folder: Path) -> Address:
    """Read the address of the set that a mirror stands for. Raises DataError."""
    path = folder / ORIGIN
    try:
        return Address(str(json.loads(path.read_bytes())["url"]))
    except (OSError, ValueError, TypeError, KeyError):
        raise DataError(f"{path} cannot be read; open the set by its URL again") from None


def save_origin(address: Address, folder: Path) -> None:
    """Note the address in a mirror, readable by its owner alone. Raises DataError."""
    path = folder / ORIGIN
    partial = path.with_name(path.name + PARTIAL)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"url": address.url}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        fsync_folder(folder)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise cannot_write(path, error) from None
