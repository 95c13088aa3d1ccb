"""Which sets are at URLs: texts that are URLs, and the file in a mirror's folder that holds the URL of its set.

It is apart from ``mirror.py``, because ``checksums.py`` asks whether a folder is a mirror and ``mirror.py`` imports
``checksums.py``.
"""

import json
import os
import re
from pathlib import Path

from data_prep.storage.url import Url
from data_prep.system.atomic_files import open_durably
from data_prep.system.errors import DataError

URL_FILE = ".origin"
"""The file in a mirror that holds the URL of the set."""
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)


def is_remote(text: str) -> bool:
    """Return whether a set is named by a URL rather than by a folder."""
    return SCHEME.match(text) is not None


def is_mirror(folder: Path) -> bool:
    """Return whether the folder mirrors a set at a URL, whose files are downloaded when they are first needed."""
    return (folder / URL_FILE).exists()


def load_url(folder: Path) -> Url:
    """Read the URL of the set that a folder mirrors. Raises DataError."""
    path = folder / URL_FILE
    try:
        return Url(str(json.loads(path.read_bytes())["url"]))
    except (OSError, ValueError, TypeError, KeyError):
        raise DataError(f"{path} cannot be read; open the set by its URL again") from None


def save_url(url: Url, folder: Path) -> None:
    """Write the URL into a mirror, readable by its owner alone. Raises DataError."""
    with open_durably(folder / URL_FILE) as file:
        os.fchmod(file.fileno(), 0o600)  # before the secret is in it
        file.write(json.dumps({"url": url.text}).encode())
