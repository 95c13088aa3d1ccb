"""Write RecordIO: the samples of a split in one ``.rec``, their offsets in ``.idx``, and a readable list in ``.lst``.

A record is a magic number, the length of what follows, MXNet's image header (flag, label, id, id2) and the encoded
image, padded to four bytes. Each record has a line ``key, offset`` in ``.idx`` and a line ``key, label, name`` in
``.lst``, separated by tabs. The keys are those of the tars. One image is held in memory at a time.
"""

import struct
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from data_prep.formats.sample import Sample
from data_prep.system.atomic_files import open_durably
from data_prep.system.errors import DataError
from data_prep.system.hashing_file import HashingFile

MAGIC = 0xCED7230A
HEADER = struct.Struct("<IIIfQQ")
"""Magic, length, flag, label, id, id2. The length counts the bytes from the flag on."""
PREFIX = 8
"""Bytes of magic and length, which the length does not count."""
ALIGNMENT = 4
"""Records start at multiples of this many bytes."""
LENGTH_BITS = 29
"""The upper three bits of the length mark the parts of a split record; records written here are whole."""
SUFFIXES = (".lst", ".idx", ".rec")


def write_recordio(samples: Iterable[Sample], stem: Path) -> dict[str, HashingFile]:
    """Write the three files of a split and return them by suffix, with their sizes and sha256.

    Raises DataError on an image of half a gigabyte or a full disk, and whatever ``samples`` raises; then no file
    remains.
    """
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    try:
        with ExitStack() as stack:
            # The .rec is opened last, so an error while it is written names that file.
            files = [HashingFile(stack.enter_context(open_durably(path))) for path in paths]
            _write(samples, *files)
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    return dict(zip(SUFFIXES, files, strict=True))


def _write(samples: Iterable[Sample], listing: HashingFile, index: HashingFile, records: HashingFile) -> None:
    for sample in samples:
        listing.write(f"{sample.key}\t{sample.label}\t{sample.name}\n".encode())
        index.write(b"%d\t%d\n" % (sample.key, records.size))
        records.write(pack(sample))


def pack(sample: Sample) -> bytes:
    """Return the record of one sample. Raises DataError if the image is too long for a record."""
    length = HEADER.size - PREFIX + len(sample.image)
    if length >> LENGTH_BITS:
        raise DataError(f"{sample.name} has {len(sample.image)} bytes; a record can hold less than {1 << LENGTH_BITS}")
    header = HEADER.pack(MAGIC, length, 0, sample.label, sample.key, 0)
    return header + sample.image + bytes(-length % ALIGNMENT)
