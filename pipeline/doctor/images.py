"""A check of the image formats: Pillow encodes and decodes each of them."""

import io
from collections.abc import Iterator

import numpy as np

from pipeline.doctor.check import CheckOptions, CheckResult, Level, one_line

FORMATS: dict[str, dict[str, object]] = {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}}
"""Pillow's names of the formats that data sets come in, each with options of its encoder."""
TOLERANCES = {"JPEG": 16}
"""The greatest difference of a pixel's value, of 255, that a lossy format may cause."""


def image_formats(_: CheckOptions) -> Iterator[CheckResult]:
    """Encode and decode an image in every format."""
    problems = {name: problem for name in FORMATS if (problem := _problem(name))}
    if problems:
        found = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        yield CheckResult("image formats", Level.FAILURE, found, "pip install --force-reinstall pillow, as a wheel")
    else:
        yield CheckResult("image formats", Level.OK, f"Pillow encodes and decodes {', '.join(FORMATS)}")


def _problem(name: str) -> str | None:
    """Return what is wrong with a format, or None."""
    from PIL import Image  # noqa: PLC0415 - if Pillow is broken, that is the result

    row = np.linspace(0, 255, 16).astype(np.uint8)
    pixels = np.broadcast_to(row[:, None, None], (16, 16, 3)).copy()
    try:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, name, **FORMATS[name])
        with Image.open(io.BytesIO(file.getvalue()), formats=(name,)) as picture:
            decoded = np.asarray(picture.convert("RGB")).astype(int)
    except (OSError, KeyError, ValueError) as error:
        return one_line(error)
    wrong = decoded.shape != pixels.shape or np.abs(decoded - pixels).max() > TOLERANCES.get(name, 0)
    return "the decoded pixels are not those that were encoded" if wrong else None
