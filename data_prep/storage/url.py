"""URLs of prepared sets and of their files, and how to print them without their secrets."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

USER_INFO = re.compile(r"(?<=//)[^/]*@")
WEB = ("http", "https")


@dataclass(frozen=True)
class Url:
    """The URL of a set or of one of its files."""

    text: str
    """As the user wrote it, perhaps with a user, a password and, for the web, a query."""

    @property
    def scheme(self) -> str:
        """The part before the colon, in lower case."""
        return self.text.partition(":")[0].lower()

    def file(self, name: str) -> "Url":
        """Return the URL of a file in this folder; a query, such as a signature, stays behind the path."""
        if self.scheme not in WEB:
            return Url(f"{self.text.rstrip('/')}/{name}")
        parts = urlsplit(self.text)
        return Url(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment="")))

    @property
    def public(self) -> str:
        """The URL without user, password and query: it may be printed, and it names the set in the cache."""
        text = self.text.partition("?")[0].partition("#")[0] if self.scheme in WEB else self.text
        return USER_INFO.sub("", text).rstrip("/")

    @property
    def without_login(self) -> str:
        """The URL without user and password."""
        return USER_INFO.sub("", self.text)

    @property
    def login(self) -> tuple[bytes, bytes] | None:
        """The user and the password, decoded; None if the URL has none."""
        user, _, password = self._user_info.partition(":")
        return (unquote(user).encode(), unquote(password).encode()) if self._user_info else None

    def redact(self, text: str) -> str:
        """Return the text of another library's error on one line, without the secrets of this URL."""
        password = self._user_info.partition(":")[2]
        replacements = {self.text: self.public, self.without_login: self.public, password: "***"}
        for secret, public in (replacements | {unquote(password): "***"}).items():
            text = text.replace(secret, public) if secret else text
        return " ".join(text.split())

    @property
    def _user_info(self) -> str:
        found = USER_INFO.search(self.text)
        return found[0][:-1] if found else ""
