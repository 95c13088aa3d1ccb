"""Find PNG and JPEG files that Pillow accepts and other readers do not. No image is decoded here.

- :func:`read_png_header` and :func:`check_png` refuse a damaged PNG with DataError: an invalid header, a wrong
  checksum, missing rows or a missing end. libpng fails on these while it decodes, and torchvision's reader then ends
  its process, so no such file may get into a shard.
- :func:`is_strict_jpeg` refuses nothing, but returns whether DALI's parser accepts the header of a JPEG. If it does
  not, ``normalize.py`` encodes the image again.
- A truncated JPEG is refused by ``Normalizer`` in ``normalize.py``, when Pillow decodes it. JPEG has no checksums, so
  other damage to its pixels is not noticed.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from data_prep.system.errors import DataError

CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""The number of channels of each color type."""
STEP = 1 << 16
"""The most bytes that are decompressed at once."""
ADAM7_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""For each pass: the first row, the first column, the step between rows, and the step between columns."""


@dataclass(frozen=True)
class PngHeader:
    """The image as the chunk IHDR describes it."""

    width: int
    height: int
    depth: int
    """Bits per channel."""
    color: int
    """The color type."""
    interlaced: bool

    def raw_size(self) -> int:
        """Return the number of bytes of the filtered rows, which IDAT holds compressed."""
        passes = ADAM7_PASSES if self.interlaced else ((0, 0, 1, 1),)
        return sum(self._pass_size(*steps) for steps in passes)

    def _pass_size(self, top: int, left: int, down: int, right: int) -> int:
        rows, columns = -((top - self.height) // down), -((left - self.width) // right)
        if rows <= 0 or columns <= 0:
            return 0
        return rows * (1 + (columns * self.depth * CHANNELS[self.color] + 7) // 8)


def read_png_header(content: bytes) -> PngHeader:
    """Read the header of a file with PNG's signature. Raises DataError if it is cut off or invalid."""
    if len(content) < 33 or content[12:16] != b"IHDR":
        raise DataError("broken PNG image: it has no header")
    width, height, depth, color, compression, filtering, interlace = struct.unpack(">IIBBBBB", content[16:29])
    if color not in CHANNELS or compression or filtering or interlace > 1:
        raise DataError("broken PNG image: its header names an unknown method")
    return PngHeader(width, height, depth, color, bool(interlace))


def check_png(content: bytes, header: PngHeader) -> None:
    """Check the checksum of every chunk up to IEND, and that IDAT holds all rows. Raises DataError with the reason."""
    data: list[bytes] = []
    runs = 0
    for kind, payloads in groupby(_chunks(content), key=lambda chunk: chunk[0]):
        if not kind[0] & 0x20 and kind not in CRITICAL:
            raise DataError(f"broken PNG image: unknown critical chunk {kind!r}")
        if kind == b"IDAT":
            runs += 1
            data = [payload for _, payload in payloads]
    if runs != 1:
        raise DataError(f"broken PNG image: its pixels are in {runs} places")
    _check_rows(b"".join(data), header.raw_size())


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the payload of each chunk up to IEND; readers ignore what follows it."""
    start, kind = 8, b""
    while kind != b"IEND":
        kind = content[start + 4 : start + 8]
        end = start + 8 + int.from_bytes(content[start : start + 4])
        if len(content) < end + 4 or len(kind) < 4:
            raise DataError("truncated PNG image")
        if zlib.crc32(content[start + 4 : end]) != int.from_bytes(content[end : end + 4]):
            raise DataError(f"broken PNG image: wrong checksum of chunk {kind!r}")
        yield kind, content[start + 8 : end]
        start = end + 4


def _check_rows(compressed: bytes, wanted: int) -> None:
    """Check that the rows have ``wanted`` bytes. At most one step more is decompressed, so a bomb is harmless."""
    stream, size, rest = zlib.decompressobj(), 0, compressed
    while not stream.eof and size <= wanted:
        try:
            piece = stream.decompress(rest, STEP)
        except zlib.error as error:
            raise DataError(f"broken PNG image: {error}") from None
        size, rest = size + len(piece), stream.unconsumed_tail
        if not piece and not rest:
            break
    if not stream.eof or size != wanted:
        raise DataError("truncated PNG image" if size <= wanted else "broken PNG image: it holds more than its rows")


START_OF_SCAN = 0xDA
MARKERS_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA), 0xFF})
"""The markers TEM, restart, start of image and end of image, none of which may be among the segments of a header."""


def is_strict_jpeg(content: bytes) -> bool:
    """Return whether the segments of a JPEG's header, up to the scan, follow each other without a byte between them.

    The pixels of a JPEG that is not strict are intact, so the caller encodes it again instead of refusing it.
    """
    start = 2
    while (head := content[start : start + 4])[:1] == b"\xff" and len(head) == 4:
        marker, length = head[1], int.from_bytes(head[2:])
        if marker in MARKERS_WITHOUT_LENGTH or length < 2:
            return False
        if marker == START_OF_SCAN:
            return True
        start += 2 + length
    return False
