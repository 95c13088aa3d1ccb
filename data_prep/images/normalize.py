"""Turn the bytes of an image file into those in a shard: check, measure and, if necessary, encode it again.

Every reader of a shard (torchvision, DALI or Pillow) must decode the same upright 8-bit RGB pixels, so:

- The content decides what a file is, not its name. JPEG, PNG and WebP are read. Everything else is refused, and so are
  empty, broken and truncated files. An image of more than MAX_PIXELS pixels or with a side over MAX_FILE_SIDE is
  refused by its header, before it is decoded. Bytes after the image's end do no harm. JPEG has no checksums, so damage
  to its pixels alone is not noticed.
- ``strict_checks.py`` refuses a PNG that Pillow would accept in spite of its damage. A truncated JPEG or WebP is
  refused in this file: Pillow raises an error when :func:`_decode` decodes it.
- CMYK and YCCK become RGB by their complement; no color profile is applied, here or by any reader.
- 16-bit channels lose their low byte. Palettes become RGB; 1, 2 and 4 bits are scaled to 8.
- Transparency (alpha, a palette's or a color key) is flattened over white. A 16-bit color key loses its low byte, as
  the pixels do.
- Of an animation the first frame is taken; of several pictures in one JPEG (MPO) the first, as every reader does.
- EXIF's orientation is applied. Metadata is dropped from an image that is encoded again.
- Gray stays gray in the bytes, and readers convert it to RGB: shape and statistics are those of three equal channels.
- The shorter side is reduced to ``resize``, never enlarged, by Pillow's antialiased bicubic filter; the longer side
  keeps the ratio, rounded to the nearest pixel, halves up. A JPEG of four or more times that size is first scaled by
  libjpeg to no less than twice that size, which is faster and looks the same.

The bytes are kept if none of this changes the image, the format is the wanted one and DALI's parsers accept the header
(the segments of a JPEG follow each other, a WebP has the EXIF that it announces). Otherwise the image is encoded:

- ``original``: a JPEG as a JPEG of ``quality``, any other as PNG.
- ``jpeg``: as a JPEG of ``quality``, with colors at half the resolution (4:2:0).
- ``png``, ``webp``: without loss.

The statistics are those of the stored pixels; of a JPEG that is encoded again, those before the loss.
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
from data_prep.images.strict_checks import check_png, is_strict_jpeg, read_png_header
from data_prep.system.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

MAX_FILE_SIDE = 16_383
"""Pixels: the largest side that a WebP can have. A file with a larger side is refused, so every image that is read can
be stored in any format."""

SIGNATURES = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
}
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
WANTED = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}
"""The format of the bytes that each image format asks for, as Pillow names it; ``original`` asks for none."""
REENCODED = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "PNG"}
"""The format in which ``original`` encodes a file of each format again."""
ORIENTATION = 0x0112
"""The number of EXIF's tag for the orientation."""
WEBP_ANIMATED, WEBP_EXIF = 0x02, 0x08


@dataclass(frozen=True)
class Normalizer:
    """Converts image files for a shard; the same content always gives the same bytes."""

    image_format: str = "original"
    """``original``, ``jpeg``, ``png`` or ``webp``."""
    resize: int | None = None
    """The shorter side in pixels; a smaller image keeps its size."""
    quality: int = 90
    """The quality of JPEGs that are encoded, 1 to 100."""

    def __call__(self, content: bytes) -> EncodedImage:
        """Convert one file. Raises DataError with the reason; the caller adds the file's name."""
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
        """Return the width and the height to store, before the orientation is applied."""
        short = min(size)
        if self.resize is None or short <= self.resize:
            return size
        width, height = ((2 * side * self.resize + short) // (2 * short) for side in size)
        return width, height

    def _save(self, picture: "Image", kind: str) -> bytes:
        """Encode a picture of mode L or RGB."""
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
    """Return the format, as Pillow names it, of content with these first bytes. Raises DataError."""
    if not content:
        raise DataError("empty file")
    for kind, signature in SIGNATURES.items():
        if signature.match(content):
            return kind
    raise DataError("not a JPEG, PNG or WebP image")


@contextmanager
def _open(content: bytes, kind: str) -> Iterator["Image"]:
    """Open an image without decoding it. What Pillow raises on its bytes until it is closed becomes a DataError."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    broken = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=[kind]) as source:
                yield source
    except UnidentifiedImageError:  # its text contains a memory address
        raise DataError(f"broken {kind} image: its header cannot be read") from None
    except Image.DecompressionBombError:
        raise DataError(f"image is more than {MAX_PIXELS:,} pixels") from None
    except broken as error:
        raise DataError(f"broken {kind} image: {' '.join(str(error).split())}") from None


def _check(source: "Image", content: bytes, kind: str) -> int:
    """Check the size in the header, and a PNG's chunks; return the bits per channel. Raises DataError."""
    width, height = source.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_FILE_SIDE:
        limit = f"{MAX_PIXELS:,} pixels or a side of {MAX_FILE_SIDE:,}"
        raise DataError(f"image is {width}x{height} pixels, more than {limit}")
    if kind != "PNG":
        return 8
    header = read_png_header(content)
    check_png(content, header)
    return header.depth


def _keeps_jpeg(source: "Image", content: bytes) -> bool:
    """Return False for CMYK, which is converted here, and for a header that DALI's parser refuses."""
    return source.mode != "CMYK" and is_strict_jpeg(content)


def _keeps_png(source: "Image", content: bytes) -> bool:
    """Return False for 16-bit channels, an animation and transparency, which are converted here."""
    frames = getattr(source, "n_frames", 1)
    return read_png_header(content).depth <= 8 and frames == 1 and not source.has_transparency_data


def _keeps_webp(source: "Image", content: bytes) -> bool:
    """Return False for transparency, which is converted here, and for what some readers refuse.

    They refuse an animation, even one of a single frame, and EXIF data that the header announces but that is missing.
    """
    flags = content[20] if content[12:16] == b"VP8X" else 0
    missing_exif = bool(flags & WEBP_EXIF) and "exif" not in source.info
    return not flags & WEBP_ANIMATED and not missing_exif and not source.has_transparency_data


KEEPS_BYTES = {"JPEG": _keeps_jpeg, "PNG": _keeps_png, "WEBP": _keeps_webp}
"""For each format, whether every reader decodes the bytes of a file to the pixels that :func:`_decode` returns, apart
from size and orientation."""


def _upright_transform(source: "Image") -> "Transpose | None":
    """Return the transform that makes the image upright; None if it is, or if its EXIF cannot be read."""
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
    """Decode to mode L or RGB and resize to ``size``, width and height."""
    from PIL.Image import Resampling  # noqa: PLC0415

    if size == source.size:
        return _decode_rgb(source, depth)
    ample = (2 * size[0], 2 * size[1])
    large = source.width >= 2 * ample[0] and source.height >= 2 * ample[1]
    drafted = source.draft(None, ample) if large else None  # only JPEG can be drafted
    return _decode_rgb(source, depth).resize(size, Resampling.BICUBIC, box=drafted and drafted[1])


def _decode_rgb(source: "Image", depth: int) -> "Image":
    """Decode to mode L or RGB with 8 bits per channel and without transparency."""
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
    """Lay a picture over white."""
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
    """Scale a channel's value from ``depth`` bits to 8, as Pillow does with pixels but not with the color key."""
    return value >> 8 if depth == 16 else value * 255 // (2**depth - 1)


def _measure(kind: str, content: bytes, picture: "Image") -> EncodedImage:
    """Return the encoded image with the sums of its picture, of mode L or RGB.

    Pillow's histogram is many times faster than NumPy's.
    """
    levels = np.array(picture.histogram(), np.int64).reshape(-1, 256)
    sums = Sums.of_levels(np.broadcast_to(levels, (3, 256)))
    return EncodedImage(EXTENSIONS[kind], content, (picture.height, picture.width, 3), sums)
