"""Small images to bytes and back: PNG and lossless WebP give the same pixels again, JPEG does not."""

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Codec:
    """One image format: its name in Pillow, the extension in a shard and how to save it."""

    name: str
    extension: str
    save: dict[str, Any] = field(default_factory=dict)
    gray: bool = True


# WebP method 6 is 25 times slower than 4 and no smaller; exact keeps the pixels under full transparency.
CODECS: dict[str, Codec] = {
    "png": Codec("PNG", "png"),
    "webp": Codec("WEBP", "webp", {"lossless": True, "method": 4, "exact": True}, gray=False),
    "jpeg": Codec("JPEG", "jpg", {"quality": 95}),
}
EXTENSIONS = frozenset(codec.extension for codec in CODECS.values())
MODES = {1: "L", 3: "RGB"}


def encode_image(image: Pixels, image_format: str) -> bytes:
    """Encode uint8 [H, W, C], C of 1 or 3. WebP has no gray mode, so gray is stored there as RGB."""
    from PIL import Image  # noqa: PLC0415

    codec = CODECS[image_format]
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    if not codec.gray:
        picture = picture.convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, codec.name, **codec.save)
    return buffer.getvalue()


def decode_image(image: bytes, shape: tuple[int, int, int]) -> Pixels:
    """Decode to uint8 [H, W, C]. Raises DataError on a broken image or another size, checked before decoding."""
    from PIL import Image  # noqa: PLC0415

    height, width, channels = shape
    broken = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(image), formats=[codec.name for codec in CODECS.values()]) as picture:
            if picture.size != (width, height):
                raise DataError(f"image is {picture.width}x{picture.height} pixels, the manifest says {width}x{height}")
            if channels == 3 and picture.mode != "RGB":
                raise DataError(f"image has mode {picture.mode}, the manifest says RGB")
            # Gray that was stored as equal R, G and B comes back exactly: Pillow's luma weights add up to one.
            pixels = np.array(picture.convert(MODES[channels]), dtype=np.uint8)
    except (*broken, *bombs) as error:
        raise DataError(f"broken image: {error}") from None
    return pixels.reshape(shape)
