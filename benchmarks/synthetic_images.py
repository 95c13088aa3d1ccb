"""Generated image files for benchmarks: they compress and decode like photographs."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = 10
Sizes = tuple[tuple[int, int], ...]
PHOTO_SIZES: Sizes = ((500, 375), (375, 500), (500, 333))
SMALL_SIZES: Sizes = ((32, 32),)
"""Widths and heights in pixels: common ones of ImageNet, and CIFAR's."""
QUALITY = 90
OCTAVES = {5: 60.0, 20: 25.0, 80: 12.0}
"""Cells of noise along the longer side, and the standard deviation in gray levels: from slopes to texture."""
SHAPES, GRAIN = 12, 3.0
"""Number of triangles, and the standard deviation of the finest noise in gray levels."""


def write_image_files(folder: Path, images: int, sizes: Sizes, *, distinct: int = 400, kind: str = "jpg") -> None:
    """Write ``images`` files into folders of :data:`CLASSES` classes.

    Args:
        folder: the folder of the class folders; it is created.
        images: total number of files, distributed over the classes in turn.
        sizes: widths and heights, used in turn.
        distinct: number of different files; the others are hard links to them.
        kind: ``jpg`` or ``png``.
    """
    paths = [folder / f"class-{number % CLASSES}" / f"{number:06d}.{kind}" for number in range(images)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < distinct:
            draw_photo(number, sizes[number % len(sizes)]).save(path, quality=QUALITY)
        else:
            os.link(paths[number % distinct], path)


def draw_photo(seed: int, size: tuple[int, int]) -> Image.Image:
    """Return an RGB picture with slopes, edges, texture and grain."""
    random = np.random.default_rng(seed)
    noise = [_noise(random, size, *octave) for octave in OCTAVES.items()]
    picture = Image.fromarray(_clipped(128 + np.sum(noise, 0)))
    canvas = ImageDraw.Draw(picture, "RGBA")
    for corners, color in zip(random.random((SHAPES, 3, 2)), random.integers(40, 216, (SHAPES, 4)), strict=True):
        canvas.polygon([tuple(corner) for corner in (corners * size).tolist()], fill=tuple(color.tolist()))
    return Image.fromarray(_clipped(np.asarray(picture) + random.normal(0, GRAIN, (size[1], size[0], 1))))


def _noise(random: np.random.Generator, size: tuple[int, int], cells: int, strength: float) -> np.ndarray:
    """Return smooth noise [H, W, 3] about 0."""
    shape = [max(2, cells * side // max(size)) for side in reversed(size)]
    coarse = [Image.fromarray(random.normal(0, strength, shape).astype(np.float32)) for _ in range(3)]
    return np.stack([np.asarray(channel.resize(size, Image.Resampling.BICUBIC)) for channel in coarse], 2)


def _clipped(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).astype(np.uint8)
