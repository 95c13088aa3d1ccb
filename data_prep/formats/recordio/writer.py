"""Write RecordIO: the samples of one split in one ``.rec``, their places in ``.idx``, and a readable list in ``.lst``.

A record is a magic number, the length of what follows, MXNet's image header (flag, label, id, id2) and the encoded
image, padded to four bytes. ``.idx`` has a line ``key, offset`` a record and ``.lst`` a line ``key, label, name``, with
tabs. Keys are those of the tars. One image is held in memory at a time.
"""

import struct
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from data_prep.formats.sample import Sample
from data_prep.system.atomic_files import _Hashed, written_durably
from data_prep.system.errors import DataError

MAGIC = 0xCED7230A
HEADER = struct.Struct("<IIIfQQ")
"""Magic, length, flag, label, id, id2; the length counts from the flag."""
PREFIX = 8
"""Bytes that the length does not count."""
ALIGNMENT = 4
LENGTH_BITS = 29
"""The upper three bits of the length mark parts of a record; these here are whole."""
SUFFIXES = (".lst", ".idx", ".rec")


@dataclass(frozen=True)
class Written:
    """A finished file: its size in bytes and its sha256."""

    bytes: int
    sha256: str


def write_records(samples: Iterable[Sample], stem: Path) -> dict[str, Written]:
    """Write the three files of a split and return what they are, by suffix.

    Raises DataError on an image of half a gigabyte or a full disk, and what ``samples`` raises; then no file stays.
    """
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    try:
        with ExitStack() as stack:
            # The records come last, so that an error of their file is told with its name.
            files = [_Hashed(stack.enter_context(written_durably(path))) for path in paths]
            _write(samples, *files)
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    finished = (Written(file.position, file.digest.hexdigest()) for file in files)
    return dict(zip(SUFFIXES, finished, strict=True))


def _write(samples: Iterable[Sample], listing: _Hashed, index: _Hashed, records: _Hashed) -> None:
    for sample in samples:
        listing.write(f"{sample.key}\t{sample.label}\t{sample.name}\n".encode())
        index.write(b"%d\t%d\n" % (sample.key, records.position))
        records.write(pack(sample))


def pack(sample: Sample) -> bytes:
    """One record. Raises DataError if its length does not fit."""
    length = HEADER.size - PREFIX + len(sample.image)
    if length >> LENGTH_BITS:
        raise DataError(f"{sample.name} has {len(sample.image)} bytes; a record can hold less than {1 << LENGTH_BITS}")
    header = HEADER.pack(MAGIC, length, 0, sample.label, sample.key, 0)
    return header + sample.image + bytes(-length % ALIGNMENT)
