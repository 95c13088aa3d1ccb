"""Look at a prepared set: a table of its splits, and a picture of the first samples of each class.

The picture has a row of images for each class or, if the samples are points of the plane, is a scatter plot of them.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.dataset.checksums import check_shard
from data_prep.dataset.manifest import SPLITS, Manifest
from data_prep.dataset.mirror import local_path
from data_prep.formats.sample import Sample
from data_prep.formats.webdataset.scan import read_shard
from data_prep.images.codecs import CODECS, Values, decode_image
from data_prep.system.atomic_files import cannot_write

COLUMNS = 12
"""The number of images of each class in the picture."""
POINTS = 400
"""The number of points of each class in the picture."""
TILE_PIXELS = 32
"""The side to which smaller images are enlarged, by a whole factor."""
VARIED_PIXELS = 96
"""The side of a tile if the images differ in size."""
GAP_PIXELS = 2
MARGIN_PIXELS = 100
"""Width of the column with the names of the classes."""
WHITE = (255, 255, 255)
"""Color of the background, in RGB."""


def table(manifest: Manifest) -> Iterator[str]:
    """Yield the lines of the table: split, shards, samples, bytes, images of the smallest and of the largest class."""
    yield f"{'split':<10}{'shards':>8}{'samples':>10}{'bytes':>14}{'class min':>11}{'class max':>11}"
    for split in SPLITS:
        shards, counts = manifest.split(split), manifest.counts[split]
        size = sum(shard.bytes for shard in shards)
        yield f"{split:<10}{len(shards):>8}{manifest.samples(split):>10}{size:>14}{min(counts):>11}{max(counts):>11}"


def save_contact_sheet(folder: Path, manifest: Manifest, path: Path) -> None:
    """Write a PNG of the first samples of each class. Raises DataError on a damaged shard or a full disk."""
    draw = _draw_points if CODECS[manifest.image_format].dtype == np.float32 else _draw_rows
    picture = draw(folder, manifest)
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise cannot_write(path, error) from None


def _draw_rows(folder: Path, manifest: Manifest) -> bytes:
    from PIL import Image, ImageDraw  # noqa: PLC0415

    rows = _first_images(folder, manifest, COLUMNS)
    height, width = (VARIED_PIXELS,) * 2 if manifest.varied else manifest.shape[:2]
    scale = max(1, TILE_PIXELS // max(height, width))
    step_y, step_x = height * scale + GAP_PIXELS, width * scale + GAP_PIXELS
    sheet = Image.new("RGB", (MARGIN_PIXELS + COLUMNS * step_x, len(rows) * step_y), WHITE)
    draw = ImageDraw.Draw(sheet)
    for row, (name, images) in enumerate(rows.items()):
        draw.text((GAP_PIXELS, row * step_y + GAP_PIXELS), name, fill=(0, 0, 0))
        for column, image in enumerate(images):
            tile = Image.fromarray(_enlarge(image, scale))
            tile.thumbnail((step_x - GAP_PIXELS, step_y - GAP_PIXELS))
            sheet.paste(tile, (MARGIN_PIXELS + column * step_x, row * step_y))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_points(folder: Path, manifest: Manifest) -> bytes:
    """Draw each class in a color of its own, and its labeled points large and framed."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    axes.set_aspect("equal")
    for number, (name, points) in enumerate(_first_images(folder, manifest, POINTS).items()):
        x, y = np.array(points).reshape(-1, 2).T
        labeled = manifest.counts["labeled"][number]  # the labeled points come first
        axes.scatter(x[labeled:], y[labeled:], s=6, color=f"C{number}", alpha=0.4)
        axes.scatter(x[:labeled], y[:labeled], s=80, color=f"C{number}", edgecolors="black", label=name, zorder=2)
    axes.legend(title="labeled")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return buffer.getvalue()


def _first_images(folder: Path, manifest: Manifest, count: int) -> dict[str, list[Values]]:
    """Return the first ``count`` images of each class, the labeled ones first; read no more than is needed."""
    rows: dict[str, list[Values]] = {name: [] for name in manifest.classes}
    full = 0
    for sample in _samples(folder, manifest):
        if sample.label < 0:
            continue
        images = rows[manifest.classes[sample.label]]
        if len(images) < count:
            images.append(decode_image(sample.image, manifest.shape, manifest.image_format))
            full += len(images) == count
        if full == len(rows):
            break
    return rows


def _samples(folder: Path, manifest: Manifest) -> Iterator[Sample]:
    for shard in manifest.split("labeled") + manifest.split("unlabeled"):
        path = local_path(folder, shard.name)
        check_shard(folder, shard)
        yield from read_shard(path, shard)


def _enlarge(image: Values, scale: int) -> Values:
    large = image.repeat(scale, axis=0).repeat(scale, axis=1)
    return np.broadcast_to(large, (*large.shape[:2], 3))
