"""Image formats: whether Pillow can write and read back each of them."""

import io
from collections.abc import Iterator

import numpy as np

from pipeline.doctor.finding import Finding, Level, Request, one_line

FORMATS: dict[str, dict[str, object]] = {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}}
MOST = {"JPEG": 16}
"""The pixels' greatest difference of a lossy format."""


def image_formats(_: Request) -> Iterator[Finding]:
    """Encode and decode an image in every format that data sets come in."""
    problems = {name: problem for name in FORMATS if (problem := _problem(name))}
    if problems:
        found = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        yield Finding("image formats", Level.FAILURE, found, "pip install --force-reinstall pillow, as a wheel")
    else:
        yield Finding("image formats", Level.OK, f"{', '.join(FORMATS)} by Pillow")


def _problem(name: str) -> str | None:
    """Return what is wrong with a format, or None."""
    from PIL import Image  # noqa: PLC0415 - a broken Pillow is a finding

    row = np.linspace(0, 255, 16).astype(np.uint8)
    pixels = np.broadcast_to(row[:, None, None], (16, 16, 3)).copy()
    try:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, name, **FORMATS[name])
        with Image.open(io.BytesIO(file.getvalue()), formats=(name,)) as picture:
            decoded = np.asarray(picture.convert("RGB")).astype(int)
    except (OSError, KeyError, ValueError) as error:
        return one_line(error)
    wrong = decoded.shape != pixels.shape or np.abs(decoded - pixels).max() > MOST.get(name, 0)
    return "other pixels came back" if wrong else None
