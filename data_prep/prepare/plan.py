"""What is to be written: which image goes into which shard at which place."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.dataset.manifest import SPLITS, Manifest
from data_prep.dataset.shard_stats import Receipt
from data_prep.formats.webdataset.writer import ShardJob
from data_prep.images.pixel_stats import Sums
from data_prep.sources import RawSet, Source
from data_prep.splits.assign import divide, writing_order
from data_prep.splits.label_counts import LISTED, check_room, per_class
from data_prep.system.errors import DataError
from data_prep.system.types import Labels, Option


@dataclass(frozen=True)
class Piece:
    """A shard's place in the plan: the source indices of its samples in writing order."""

    name: str
    split: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Identity:
    """All that shapes the bytes of a prepared set, and all that its manifest says beside what the shards hold."""

    dataset: str
    classes: tuple[str, ...]
    options: dict[str, Option]
    sources: dict[str, str]
    pieces: tuple[str, ...]

    def words(self) -> dict[str, Option]:
        """The identity as keys and values that a message can name."""
        sources = {f"source {name}": digest for name, digest in self.sources.items()}
        return {"dataset": self.dataset, **self.options, **sources}

    def describe(self, receipts: Sequence[Receipt]) -> Manifest:
        """The manifest of the written pieces, whose receipts come in the order of ``pieces``.

        Raises DataError if a class has lost every labeled image, or training or test every image.
        """
        counts: dict[str, tuple[int, ...]] = {split: self._count(receipts, split) for split in SPLITS}
        unknown = sum(receipt.unknown for receipt in receipts)
        lost = [
            f"labeled image of {name!r}" for name, left in zip(self.classes, counts["labeled"], strict=True) if not left
        ]
        lost += [] if sum(counts["unlabeled"]) + unknown else ["unlabeled image"]
        lost += [] if sum(counts["test"]) else ["test image"]
        if lost:
            raise DataError(f"there is no {lost[0]} that could be had; mend or remove such files and use another --out")
        mean, std = self._statistics(receipts)
        return Manifest(
            dataset=self.dataset,
            classes=self.classes,
            shape=_common_shape(receipts),
            image_format=str(self.options["image_format"]),
            counts=counts,
            shards=tuple(receipt.shard for receipt in receipts if receipt.shard),
            labeled_ids=tuple(sorted(key for receipt in receipts for key in receipt.keys)),
            mean=mean,
            std=std,
            options=self.options,
            sources=self.sources,
            unknown=unknown,
        )

    def _count(self, receipts: Iterable[Receipt], split: str) -> tuple[int, ...]:
        rows = [receipt.counts for receipt in receipts if _split_of(receipt.piece) == split]
        return tuple(np.sum([(0,) * len(self.classes), *rows], axis=0).tolist())

    def _statistics(self, receipts: Iterable[Receipt]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and population standard deviation per channel over all training images, each counted once."""
        splits = {"unlabeled"} if self.options["include_labeled"] else {"labeled", "unlabeled"}
        return sum((receipt.sums for receipt in receipts if _split_of(receipt.piece) in splits), Sums()).statistics()


@dataclass(frozen=True)
class Plan:
    """A loaded source divided by the options; a pure function of both."""

    identity: Identity
    raw: RawSet
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, source: Source, options: dict[str, Option], raw: RawSet) -> "Plan":
        """Divide the training set and cut every split into shards. Raises UsageError if a class has too few images."""
        splits = _divide(options, raw)
        pieces = tuple(_cut(splits, int(options["seed"]), int(options["shard_size"])))
        names = tuple(piece.name for piece in pieces)
        return cls(Identity(source.name, raw.classes, options, raw.checksums, names), raw, pieces)

    def job(self, piece: Piece, folder: Path, *, skip: bool) -> ShardJob:
        """The work of one shard, its images copied out."""
        part = (self.raw.test if piece.split == "test" else self.raw.train).select(np.array(piece.indices))
        return ShardJob(folder, piece.name, piece.split, piece.indices, part, len(self.raw.classes), skip)


def _divide(options: dict[str, Option], raw: RawSet) -> dict[str, Labels]:
    """Sorted indices of each split."""
    labels, classes = raw.train.labels, len(raw.classes)
    listed = options["labels"] == LISTED
    apart = [ids for ids in (raw.val_ids, raw.labeled_ids if listed else None) if ids is not None]
    free = np.delete(labels, np.concatenate(apart)) if apart else labels
    available = np.bincount(free[free >= 0], minlength=classes).tolist()
    labeled = (0,) * classes if listed else per_class(_wanted(options, "labels"), available)
    val = (0,) * classes if raw.val_ids is not None else per_class(_wanted(options, "val"), available)
    check_room(raw.classes, available, labeled, val, options)
    include = bool(options["include_labeled"])
    splits = divide(
        labels,
        labeled=labeled,
        val=val,
        seed=int(options["seed"]),
        include_labeled=include,
        val_ids=raw.val_ids,
        labeled_ids=raw.labeled_ids if listed else None,
    )
    splits["test"] = np.arange(len(raw.test.labels), dtype=np.int64)
    return splits


def _wanted(options: dict[str, Option], key: str) -> int | str:
    value = options[key]
    return value if isinstance(value, str) else int(value)


def _cut(splits: dict[str, Labels], seed: int, shard_size: int) -> Iterator[Piece]:
    """Cut each split into the fewest shards of at most ``shard_size`` samples, equal up to one sample."""
    for split in SPLITS:
        order = writing_order(split, splits[split], seed)
        count = -(-len(order) // shard_size)
        for index in range(count):
            start, stop = (len(order) * edge // count for edge in (index, index + 1))
            yield Piece(f"{split}-{index:06d}.tar", split, tuple(order[start:stop]))


def _split_of(piece: str) -> str:
    return piece.partition("-")[0]


def _common_shape(receipts: Sequence[Receipt]) -> tuple[int, int, int]:
    """[H, W, C] of all images, or [0, 0, C] where they have sizes of their own."""
    written = [receipt for receipt in receipts if receipt.shard]
    low = np.min([receipt.smallest for receipt in written], axis=0)
    high = np.max([receipt.largest for receipt in written], axis=0)
    height, width, channels = high.tolist()
    return (height, width, channels) if (low == high).all() else (0, 0, channels)
