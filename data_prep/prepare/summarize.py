"""Make the manifest of a set from the statistics of its shards, without reading an image again."""

from collections.abc import Iterable, Sequence

import numpy as np

from data_prep.dataset.manifest import SPLITS, Manifest
from data_prep.dataset.shard_stats import ShardStats
from data_prep.images.pixel_stats import Sums
from data_prep.prepare.plan import SetIdentity
from data_prep.system.errors import DataError


def summarize(identity: SetIdentity, stats: Sequence[ShardStats]) -> Manifest:
    """Return the manifest of a set whose shards have these statistics, in the order of ``identity.pieces``.

    Raises DataError if a class has lost every labeled image, or the unlabeled or test split every image.
    """
    classes = len(identity.classes)
    counts: dict[str, tuple[int, ...]] = {split: _class_counts(stats, split, classes) for split in SPLITS}
    unknown = sum(shard.unknown for shard in stats)
    _check_not_empty(identity.classes, counts, unknown)
    mean, std = _pixel_statistics(stats, include_labeled=bool(identity.options["include_labeled"]))
    return Manifest(
        dataset=identity.dataset,
        classes=identity.classes,
        shape=_common_shape(stats),
        image_format=str(identity.options["image_format"]),
        counts=counts,
        shards=tuple(one.shard for one in stats if one.shard),
        labeled_ids=tuple(sorted(key for shard in stats for key in shard.keys)),
        mean=mean,
        std=std,
        options=identity.options,
        sources=identity.sources,
        unknown=unknown,
    )


def _check_not_empty(classes: Sequence[str], counts: dict[str, tuple[int, ...]], unknown: int) -> None:
    empty = [f"labeled image of {name!r}" for name, left in zip(classes, counts["labeled"], strict=True) if not left]
    empty += [] if sum(counts["unlabeled"]) + unknown else ["unlabeled image"]
    empty += [] if sum(counts["test"]) else ["test image"]
    if empty:
        raise DataError(f"no {empty[0]} could be read; repair or remove such files and use another --out")


def _class_counts(stats: Iterable[ShardStats], split: str, classes: int) -> tuple[int, ...]:
    rows = [shard.counts for shard in stats if shard.split == split]
    return tuple(np.sum([(0,) * classes, *rows], axis=0).tolist())


def _pixel_statistics(
    stats: Iterable[ShardStats], *, include_labeled: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and population standard deviation per channel over all training images, each counted once."""
    splits = {"unlabeled"} if include_labeled else {"labeled", "unlabeled"}
    return sum((shard.sums for shard in stats if shard.split in splits), Sums()).statistics()


def _common_shape(stats: Sequence[ShardStats]) -> tuple[int, int, int]:
    """Return [H, W, C] of all images, or [0, 0, C] if they differ in size."""
    written = [shard for shard in stats if shard.shard]
    low = np.min([shard.smallest for shard in written], axis=0)
    high = np.max([shard.largest for shard in written], axis=0)
    height, width, channels = high.tolist()
    return (height, width, channels) if (low == high).all() else (0, 0, channels)
