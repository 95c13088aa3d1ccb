"""From the bytes of an image file to the bytes in a shard: checked, measured and, where they cannot stay, encoded anew.

Whoever reads a shard (torchvision, DALI or Pillow) must get the same upright 8-bit RGB pixels, so:

- The content decides what a file is, not its name. JPEG, PNG and WebP are read; all else is refused, as are empty,
  broken and truncated files, more than MAX_PIXELS pixels and sides over MAX_SIDE (both by the header, before decoding).
  Bytes after the image's end do no harm. JPEG has no checksums: damage that only spoils its pixels goes unseen.
- CMYK and YCCK become RGB by their complement; no color profile is applied, here or by any reader.
- 16-bit channels lose their low byte. Palettes become RGB; 1, 2 and 4 bits are scaled to 8.
- Transparency, be it alpha, a palette's or a color key, is flattened over white. A key of 16 bits loses its low byte
  just as its pixels do.
- Of an animation the first frame is taken; of several pictures in one JPEG (MPO) the first, as by every reader.
- EXIF's orientation is applied. Metadata is dropped from whatever is encoded anew.
- Gray stays gray in bytes, and readers make it RGB: shape and statistics are those of three equal channels.
- The shorter side is brought down to ``resize``, never up, by Pillow's antialiased bicubic filter; the longer side
  keeps the ratio, rounded to the nearest pixel, halves up. A JPEG of four or more times that size is first scaled down
  by libjpeg to no less than twice that size, which is faster and looks the same.

Bytes stay as they are if none of this changes the image, the format is the wanted one and DALI's parsers are content
with its header (a JPEG's segments lie end to end, a WebP has the EXIF it promises). Else:

- ``original``: JPEG becomes JPEG of ``quality``, all others PNG.
- ``jpeg``: JPEG of ``quality``, colors at half the resolution (4:2:0).
- ``png``, ``webp``: lossless.

The statistics are those of the pixels stored; of a JPEG encoded anew, those before its loss.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.images.codecs import MAX_PIXELS
from data_prep.images.encoded import EncodedImage
from data_prep.images.pixel_stats import Sums
from data_prep.images.strict_checks import check_png, is_strict_jpeg, read_header
from data_prep.system.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

# WebP's largest, so that what can be read can be stored in any format.
MAX_SIDE = 16_383

SIGNATURES = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
}
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
WANTED = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}
REENCODED = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "PNG"}
ORIENTATION = 0x0112
WEBP_ANIMATED, WEBP_EXIF = 0x02, 0x08


@dataclass(frozen=True)
class Normalizer:
    """What becomes of every image file: ``original``, ``jpeg``, ``png`` or ``webp``, and how large.

    The same content always gives the same bytes.
    """

    image_format: str = "original"
    resize: int | None = None
    """Shorter side in pixels; a smaller image keeps its size."""
    quality: int = 90
    """Of JPEGs encoded anew, 1 to 100."""

    def __call__(self, content: bytes) -> EncodedImage:
        """Treat one file. Raises DataError with the reason alone: the caller knows the file's name."""
        kind = _kind(content)
        with _open(content, kind) as source:
            depth = _check(source, content, kind)
            size, turn = self._size(source.size), _upright_transform(source)
            same = size == source.size and turn is None and KEEPS_BYTES[kind](source, content)
            picture = _decode(source, depth, size)
            if same and WANTED.get(self.image_format, kind) == kind:
                return _measure(kind, content, picture)
            made = WANTED.get(self.image_format, REENCODED[kind])
            picture = picture if turn is None else picture.transpose(turn)
            return _measure(made, self._save(picture, made), picture)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height to store, before any turning."""
        short = min(size)
        if self.resize is None or short <= self.resize:
            return size
        width, height = ((2 * side * self.resize + short) // (2 * short) for side in size)
        return width, height

    def _save(self, picture: "Image", kind: str) -> bytes:
        """Encode L or RGB."""
        options: dict[str, dict[str, Any]] = {
            "JPEG": {"quality": self.quality},
            "PNG": {},
            "WEBP": {"lossless": True, "method": 4},  # method 6 is many times slower and no smaller
        }
        picture.info = {}  # Pillow would write a comment or a color profile that it finds here
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options[kind])
        return buffer.getvalue()


def _kind(content: bytes) -> str:
    """Pillow's name of the format, by the first bytes."""
    if not content:
        raise DataError("empty file")
    for kind, signature in SIGNATURES.items():
        if signature.match(content):
            return kind
    raise DataError("not a JPEG, PNG or WebP image")


@contextmanager
def _open(content: bytes, kind: str) -> Iterator["Image"]:
    """Open without decoding; whatever Pillow raises here and within, on hostile bytes, becomes a DataError."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    broken = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=[kind]) as source:
                yield source
    except UnidentifiedImageError:  # its text holds an address in memory
        raise DataError(f"broken {kind} image: its header cannot be read") from None
    except Image.DecompressionBombError:
        raise DataError(f"image is more than {MAX_PIXELS:,} pixels") from None
    except broken as error:
        raise DataError(f"broken {kind} image: {' '.join(str(error).split())}") from None


def _check(source: "Image", content: bytes, kind: str) -> int:
    """Check what the header says, and a PNG's chunks; return the bits per channel."""
    width, height = source.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        limit = f"{MAX_PIXELS:,} pixels or a side of {MAX_SIDE:,}"
        raise DataError(f"image is {width}x{height} pixels, more than {limit}")
    if kind != "PNG":
        return 8
    header = read_header(content)
    check_png(content, header)
    return header.depth


def _keeps_jpeg(source: "Image", content: bytes) -> bool:
    """Whether every reader makes of these bytes the pixels that are meant; size and orientation aside, as below."""
    return source.mode != "CMYK" and is_strict_jpeg(content)


def _keeps_png(source: "Image", content: bytes) -> bool:
    frames = getattr(source, "n_frames", 1)
    return read_header(content).depth <= 8 and frames == 1 and not source.has_transparency_data


def _keeps_webp(source: "Image", content: bytes) -> bool:
    """Some readers refuse an animation even of one frame, and EXIF that is promised and missing."""
    flags = content[20] if content[12:16] == b"VP8X" else 0
    promised = bool(flags & WEBP_EXIF) and "exif" not in source.info
    return not flags & WEBP_ANIMATED and not promised and not source.has_transparency_data


KEEPS_BYTES = {"JPEG": _keeps_jpeg, "PNG": _keeps_png, "WEBP": _keeps_webp}


def _upright_transform(source: "Image") -> "Transpose | None":
    """What makes it upright; None where it is, or where EXIF cannot be read."""
    from PIL.Image import Transpose  # noqa: PLC0415

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        orientation = source.getexif().get(ORIENTATION)
    except (SyntaxError, ValueError, TypeError, LookupError, struct.error):
        return None
    return turns.get(orientation) if isinstance(orientation, int) else None


def _decode(source: "Image", depth: int, size: tuple[int, int]) -> "Image":
    """Decode to L or RGB of ``size``, width and height."""
    from PIL.Image import Resampling  # noqa: PLC0415

    if size == source.size:
        return _decode_rgb(source, depth)
    ample = (2 * size[0], 2 * size[1])
    large = source.width >= 2 * ample[0] and source.height >= 2 * ample[1]
    drafted = source.draft(None, ample) if large else None  # None but for JPEG, too
    return _decode_rgb(source, depth).resize(size, Resampling.BICUBIC, box=drafted and drafted[1])


def _decode_rgb(source: "Image", depth: int) -> "Image":
    """Decode to L or RGB of 8 bits, nothing transparent."""
    from PIL import Image  # noqa: PLC0415

    source.load()
    picture = source
    if source.mode.startswith("I"):
        # Pillow's own conversion to L would clip at 255.
        picture = Image.fromarray((np.asarray(source) >> 8).astype(np.uint8))
        picture.info = source.info
    if picture.has_transparency_data:
        return _flatten_alpha(picture, depth)
    gray = picture.mode in ("L", "1")
    mode = "L" if gray else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _flatten_alpha(picture: "Image", depth: int) -> "Image":
    """Lay it over white."""
    from PIL import Image  # noqa: PLC0415

    key = picture.info.get("transparency")
    if picture.mode == "L" and isinstance(key, int):
        picture.info["transparency"] = _to_8_bits(key, depth)
    if picture.mode == "RGB" and isinstance(key, tuple):
        picture.info["transparency"] = tuple(_to_8_bits(value, depth) for value in key)
    picture = picture.convert("RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _to_8_bits(value: int, depth: int) -> int:
    """A channel's value of ``depth`` bits in 8, as Pillow scales pixels but not the color key."""
    return value >> 8 if depth == 16 else value * 255 // (2**depth - 1)


def _measure(kind: str, content: bytes, picture: "Image") -> EncodedImage:
    """Measure L or RGB; Pillow counts levels many times faster than NumPy."""
    levels = np.array(picture.histogram(), np.int64).reshape(-1, 256)
    sums = Sums.of_levels(np.broadcast_to(levels, (3, 256)))
    return EncodedImage(EXTENSIONS[kind], content, (picture.height, picture.width, 3), sums)
