"""A file that computes the sha256 of what is written to it."""

import hashlib
from typing import BinaryIO


class HashingFile:
    """Write a file from its beginning to its end and know its size and sha256 without reading it again.

    Args:
        file: an empty file that is open for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0
        """Bytes written so far."""
        self._file, self._digest = file, hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append the data. Raises OSError."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """The sha256 of everything written so far, in hexadecimal."""
        return self._digest.hexdigest()
