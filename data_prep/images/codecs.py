"""Encode and decode images: PNG, lossless WebP and .npy of float32 restore the exact values, JPEG does not."""

import io
import math
import struct
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_prep.system.errors import DataError

Pixels = NDArray[np.uint8]
Values = NDArray[np.uint8 | np.float32]
Shape = tuple[int, int, int]

ORIGINAL = "original"
"""The image format of a set in which each image keeps its own: JPEG, PNG or WebP."""
MAX_PIXELS = 1 << 26
"""The most pixels of an image; a larger one is refused as a decompression bomb."""
MODES = {1: "L", 3: "RGB"}
JPEG_MODES = frozenset({"RGB", "L"})
PNG_MODES = frozenset({"RGB", "L", "1", "P"})


@dataclass(frozen=True)
class Codec(ABC):
    """An image format: the extension in a shard, the type of the values, the encoder and the decoder."""

    extension: str
    dtype: ClassVar[np.dtype[Any]]

    @abstractmethod
    def encode(self, image: Values) -> bytes:
        """Encode [H, W, C] of this format's type."""

    @abstractmethod
    def decode(self, content: bytes, shape: Shape) -> Values:
        """Decode to ``shape`` [H, W, C], or to the image's own size if H = W = 0.

        Raises DataError on a broken image, and before decoding on another size.
        """


@dataclass(frozen=True)
class Picture(Codec):
    """A format of uint8 pixels with one or three channels, which Pillow reads and writes."""

    dtype = np.dtype(np.uint8)
    formats: tuple[str, ...]
    """Pillow's names of the formats that may be read; the first is written."""
    save: dict[str, Any] = field(default_factory=dict)
    """Pillow's options for saving."""
    gray: bool = True
    """Whether the format has a gray mode; WebP has none, so gray is stored there as RGB."""
    modes: frozenset[str] = frozenset({"RGB"})
    """Pillow's modes that images of three channels may have: those that ``normalize.py`` stores."""

    def encode(self, image: Values) -> bytes:
        """Save with Pillow."""
        from PIL import Image  # noqa: PLC0415

        picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        if not self.gray:
            picture = picture.convert("RGB")
        buffer = io.BytesIO()
        picture.save(buffer, self.formats[0], **self.save)
        return buffer.getvalue()

    def decode(self, content: bytes, shape: Shape) -> Values:
        """Read with Pillow. Raises DataError on a broken image, another format or another size."""
        from PIL import Image  # noqa: PLC0415

        height, width, channels = shape
        broken = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
        bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=self.formats) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise DataError(f"image is {picture.width}x{picture.height} pixels, more than {MAX_PIXELS}")
                if (height or width) and picture.size != (width, height):
                    size = f"{picture.width}x{picture.height}"
                    raise DataError(f"image is {size} pixels, the manifest says {width}x{height}")
                if channels == 3 and picture.mode not in self.modes:
                    raise DataError(f"image has mode {picture.mode}, the manifest says RGB")
                # Gray that is stored as three equal channels is restored: Pillow's luma weights add up to one.
                pixels = np.array(picture.convert(MODES[channels]), dtype=np.uint8)
        except (*broken, *bombs) as error:
            raise DataError(f"broken image: {error}") from None
        return pixels.reshape(*pixels.shape[:2], channels)


@dataclass(frozen=True)
class Array(Codec):
    """NumPy's .npy of float32, version 1.0.

    The header is a function of the shape, so it is compared instead of parsed: an array of another type or size is
    refused, in particular one of objects, which NumPy would unpickle.
    """

    dtype = np.dtype(np.float32)

    def encode(self, image: Values) -> bytes:
        """Write the header and the values, little-endian and in C order."""
        return self._header(image.shape) + image.astype("<f4").tobytes()

    def decode(self, content: bytes, shape: Shape) -> Values:
        """Read what :meth:`encode` writes. Raises DataError on any other header, a wrong length, NaN or infinity."""
        header = self._header(shape)
        if not content.startswith(header):
            raise DataError(f"broken image: no .npy file of float32 values of shape {list(shape)}")
        size, wanted = len(content) - len(header), math.prod(shape) * self.dtype.itemsize
        if size != wanted:
            raise DataError(f"broken image: {size} bytes of values, the manifest says {wanted}")
        values = np.frombuffer(content, "<f4", offset=len(header)).astype(np.float32)
        if not np.isfinite(values).all():
            raise DataError("broken image: it holds NaN or infinity")
        return values.reshape(shape)

    def _header(self, shape: tuple[int, ...]) -> bytes:
        """Return NumPy's header: magic, version, length, a dictionary, spaces up to 64-byte alignment, a newline."""
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.ljust(117).encode() + b"\n"


# WebP method 6 is 25 times slower than 4 and no smaller; exact keeps the pixels under full transparency.
CODECS: dict[str, Codec] = {
    "png": Picture("png", ("PNG",), modes=PNG_MODES),
    "webp": Picture("webp", ("WEBP",), {"lossless": True, "method": 4, "exact": True}, gray=False),
    "jpeg": Picture("jpg", ("JPEG",), {"quality": 95}, modes=JPEG_MODES),
    "npy": Array("npy"),
    ORIGINAL: Picture("", ("JPEG", "PNG", "WEBP"), modes=JPEG_MODES | PNG_MODES),
}
EXTENSIONS = frozenset(codec.extension for codec in CODECS.values() if codec.extension)


def decode_image(content: bytes, shape: Shape, image_format: str) -> Values:
    """Decode to [H, W, C] of the format's type; to the image's own size if ``shape`` has H = W = 0.

    Raises DataError on a broken image or another size.
    """
    return CODECS[image_format].decode(content, shape)
