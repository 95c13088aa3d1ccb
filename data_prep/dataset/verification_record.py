"""The record of which files of a prepared set were verified, so that large files are not hashed at every start.

``checksums.py`` does the verification; it reads and writes this record. A file is identified by its size, time of
change, inode and sha256. The record is a JSON file in the folder of the set or, if that folder cannot be written to,
one in the user's cache folder.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from os import stat_result
from pathlib import Path
from typing import Any

from data_prep.system.atomic_files import locked, make_folder, write_durably
from data_prep.system.errors import DataError
from data_prep.system.paths import cache_folder

VERIFIED = ".verified.json"

FileState = list[int | str]
"""Size in bytes, time of the last change in ns, inode, and sha256."""


def file_state(state: stat_result, sha256: str) -> FileState:
    """Return the state of a file whose content has this sha256."""
    return [state.st_size, state.st_mtime_ns, state.st_ino, sha256]


def load_verified(folder: Path) -> list[dict[str, Any]]:
    """Return the two records of a folder, each the states of verified files by file name.

    The first is the one in the folder, the second the one in the cache folder; a record that does not exist is empty.
    """
    return [_read(path) for path in _record_paths(folder)]


def is_verified(records: Iterable[Mapping[str, Any]], name: str, state: stat_result, sha256: str) -> bool:
    """Return whether a file was verified to have this sha256 and has not changed since.

    Args:
        records: what :func:`load_verified` returned.
        name: the name of the file.
        state: its state now.
        sha256: the sha256 that it should have, in hexadecimal.
    """
    return any(record.get(name) == file_state(state, sha256) for record in records)


def remember_verified(folder: Path, states: Mapping[str, FileState]) -> None:
    """Add verified files, by name, to the record of a folder.

    Many processes may do this at the same time. If neither place can be written to, nothing is recorded.
    """
    for path in _record_paths(folder) if states else ():
        with suppress(DataError, OSError):
            make_folder(path.parent)
            with locked(path.with_name(path.name + ".lock")):
                write_durably(path, json.dumps(_read(path) | dict(states), sort_keys=True).encode())
            return


def _record_paths(folder: Path) -> tuple[Path, Path]:
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]
    return folder / VERIFIED, cache_folder() / "verified" / f"{name}.json"


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_bytes())
        return content if isinstance(content, dict) else {}
    return {}
