"""Plan what is to be written: which image goes into which shard, and at which position."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.dataset.manifest import SPLITS, Manifest
from data_prep.formats.webdataset.writer import ShardJob
from data_prep.sources import LoadOptions, RawSet, Source, check_raw
from data_prep.splits.assign import divide, writing_order
from data_prep.splits.label_counts import LISTED, check_enough_images, check_label_counts, per_class
from data_prep.system.types import Labels, Option


@dataclass(frozen=True)
class PlannedShard:
    """A shard that is to be written."""

    name: str
    split: str
    indices: tuple[int, ...]
    """Indices of its samples in the source, in the order of writing."""


@dataclass(frozen=True)
class SetIdentity:
    """Everything that determines the bytes of a prepared set: two sets of the same identity are equal.

    The field names are keys in the files of an unfinished preparation.
    """

    dataset: str
    classes: tuple[str, ...]
    options: dict[str, Option]
    """The options that change the bytes."""
    sources: dict[str, str]
    """The sha256 of each source file, or of the listing of a folder of images."""
    pieces: tuple[str, ...]
    """The names of the planned shards."""

    @classmethod
    def of(cls, manifest: Manifest) -> "SetIdentity":
        """Return the identity of a finished set, without the planned shards, which a manifest does not state."""
        return cls(manifest.dataset, manifest.classes, manifest.options, manifest.sources, ())

    def as_options(self) -> dict[str, Option]:
        """Return the identity as keys and values that an error message can name."""
        sources = {f"source {name}": digest for name, digest in self.sources.items()}
        return {"dataset": self.dataset, **self.options, **sources}


@dataclass(frozen=True)
class Plan:
    """The images of a source, divided into splits and shards: a pure function of the source and the options."""

    identity: SetIdentity
    raw: RawSet
    shards: tuple[PlannedShard, ...]

    @classmethod
    def load(cls, source: Source, load_options: LoadOptions, options: dict[str, Option]) -> "Plan":
        """Load or list the source, divide its training set, and cut every split into shards.

        Raises DataError on bad source files, UsageError if a class has too few images.
        """
        raw = source.load(load_options)
        check_raw(raw, source)
        check_label_counts(options, len(raw.classes))
        shards = tuple(_cut(_divide(options, raw), int(options["seed"]), int(options["shard_size"])))
        names = tuple(shard.name for shard in shards)
        return cls(SetIdentity(source.name, raw.classes, options, raw.checksums, names), raw, shards)

    def job(self, shard: PlannedShard, folder: Path, *, skip: bool) -> ShardJob:
        """Return the work of writing one shard, with copies of its images."""
        part = (self.raw.test if shard.split == "test" else self.raw.train).select(np.array(shard.indices))
        return ShardJob(folder, shard.name, shard.split, shard.indices, part, len(self.raw.classes), skip)


def _divide(options: dict[str, Option], raw: RawSet) -> dict[str, Labels]:
    """Return the sorted indices of each split."""
    labels, classes = raw.train.labels, len(raw.classes)
    listed = options["labels"] == LISTED
    given = [ids for ids in (raw.val_ids, raw.labeled_ids if listed else None) if ids is not None]
    free = np.delete(labels, np.concatenate(given)) if given else labels
    available = np.bincount(free[free >= 0], minlength=classes).tolist()
    labeled = (0,) * classes if listed else per_class(options["labels"], available)
    val = (0,) * classes if raw.val_ids is not None else per_class(options["val"], available)
    check_enough_images(raw.classes, available, labeled, val, options)
    splits = divide(
        labels,
        labeled=labeled,
        val=val,
        seed=int(options["seed"]),
        include_labeled=bool(options["include_labeled"]),
        val_ids=raw.val_ids,
        labeled_ids=raw.labeled_ids if listed else None,
    )
    splits["test"] = np.arange(len(raw.test.labels), dtype=np.int64)
    return splits


def _cut(splits: dict[str, Labels], seed: int, shard_size: int) -> Iterator[PlannedShard]:
    """Cut each split into the fewest shards of at most ``shard_size`` samples, equal up to one sample."""
    for split in SPLITS:
        order = writing_order(split, splits[split], seed)
        count = -(-len(order) // shard_size)
        for index in range(count):
            start, stop = (len(order) * edge // count for edge in (index, index + 1))
            yield PlannedShard(f"{split}-{index:06d}.tar", split, tuple(order[start:stop]))
