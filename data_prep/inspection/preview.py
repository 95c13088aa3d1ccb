"""Look at a prepared set: tables of its splits and classes, and pictures of its first samples."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.dataset.manifest import SPLITS, Manifest
from data_prep.images.codecs import CODECS
from data_prep.inspection.contact_sheet import draw_pages
from data_prep.inspection.point_plot import draw_points
from data_prep.system.atomic_files import cannot_write

logger = logging.getLogger(__name__)


def split_table(manifest: Manifest) -> Iterator[str]:
    """Yield the lines of the table: split, shards, samples, bytes, images of the smallest and of the largest class."""
    yield f"{'split':<10}{'shards':>8}{'samples':>10}{'bytes':>14}{'class min':>11}{'class max':>11}"
    for split in SPLITS:
        shards, counts = manifest.split(split), manifest.counts[split]
        size = sum(shard.bytes for shard in shards)
        yield f"{split:<10}{len(shards):>8}{manifest.samples(split):>10}{size:>14}{min(counts):>11}{max(counts):>11}"


def class_table(manifest: Manifest) -> Iterator[str]:
    """Yield the lines of the table: the number of a class, its images in each split, and its whole name.

    Unlabeled images are counted by their hidden classes.
    """
    yield f"{'class':<6}{''.join(f'{split:>11}' for split in SPLITS)}  name"
    for number, name in enumerate(manifest.classes):
        yield f"{number:<6}{''.join(f'{manifest.counts[split][number]:>11}' for split in SPLITS)}  {name}"


def save_pictures(folder: Path, manifest: Manifest, path: Path) -> list[Path]:
    """Write contact sheets or, of points of the plane, a scatter plot; return the paths of the files.

    The pages of many classes are ``path`` and, beside it, NAME-2.png and so on. Raises DataError on a damaged shard or
    a full disk.
    """
    points = CODECS[manifest.image_format].dtype == np.float32
    pages = [draw_points(folder, manifest)] if points else draw_pages(folder, manifest)
    paths = [path, *(path.with_stem(f"{path.stem}-{number}") for number in range(2, len(pages) + 1))]
    for target, page in zip(paths, pages, strict=True):
        try:
            target.write_bytes(page)
        except OSError as error:
            raise cannot_write(target, error) from None
    if len(paths) > 1:
        logger.info(
            "the contact sheet of %d classes has %d pages: %s to %s", len(manifest.classes), len(paths), path, paths[-1]
        )
    return paths
