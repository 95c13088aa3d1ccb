"""Look at a prepared data set: a table of its splits and a contact sheet with a row of images for each class."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from data_prep.durable import cannot_write
from data_prep.images import Pixels, decode_image
from data_prep.manifest import SPLITS, Manifest
from data_prep.shards import Sample, read_shard

COLUMNS = 12
TILE_PIXELS = 32  # smaller images are enlarged by a whole factor
GAP_PIXELS = 2
MARGIN_PIXELS = 100
WHITE = 255


def table(manifest: Manifest) -> Iterator[str]:
    """The lines of the table: split, shards, samples, bytes, smallest and largest class."""
    yield f"{'split':<10}{'shards':>8}{'samples':>10}{'bytes':>14}{'class min':>11}{'class max':>11}"
    for split in SPLITS:
        shards, counts = manifest.split(split), manifest.counts[split]
        size = sum(shard.bytes for shard in shards)
        yield f"{split:<10}{len(shards):>8}{manifest.samples(split):>10}{size:>14}{min(counts):>11}{max(counts):>11}"


def contact_sheet(folder: Path, manifest: Manifest, path: Path) -> None:
    """Write a PNG: the first images of each class, one row a class. Raises DataError on damage or a full disk."""
    from PIL import Image, ImageDraw  # noqa: PLC0415

    rows = _rows(folder, manifest)
    height, width, _ = manifest.shape
    scale = max(1, TILE_PIXELS // max(height, width))
    step_y, step_x = height * scale + GAP_PIXELS, width * scale + GAP_PIXELS
    sheet = Image.new("RGB", (MARGIN_PIXELS + COLUMNS * step_x, len(rows) * step_y), (WHITE, WHITE, WHITE))
    draw = ImageDraw.Draw(sheet)
    for row, (name, images) in enumerate(rows.items()):
        draw.text((GAP_PIXELS, row * step_y + GAP_PIXELS), name, fill=(0, 0, 0))
        for column, image in enumerate(images):
            tile = Image.fromarray(_enlarge(image, scale))
            sheet.paste(tile, (MARGIN_PIXELS + column * step_x, row * step_y))
    try:
        sheet.save(path, "PNG")
    except OSError as error:
        raise cannot_write(path, error) from None


def _rows(folder: Path, manifest: Manifest) -> dict[str, list[Pixels]]:
    """The first ``COLUMNS`` images of each class, the labeled ones first; stops reading when every row is full."""
    rows: dict[str, list[Pixels]] = {name: [] for name in manifest.classes}
    full = 0
    for sample in _samples(folder, manifest):
        images = rows[manifest.classes[sample.known_class]]
        if len(images) < COLUMNS:
            images.append(decode_image(sample.image, manifest.shape))
            full += len(images) == COLUMNS
        if full == len(rows):
            break
    return rows


def _samples(folder: Path, manifest: Manifest) -> Iterator[Sample]:
    shards = manifest.split("labeled") + manifest.split("unlabeled")
    return chain.from_iterable(read_shard(folder / shard.name, shard) for shard in shards)


def _enlarge(image: Pixels, scale: int) -> Pixels:
    large = image.repeat(scale, axis=0).repeat(scale, axis=1)
    return np.broadcast_to(large, (*large.shape[:2], 3))
