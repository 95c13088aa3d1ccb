"""The first samples of each class in each split of a prepared set, read from as few shards as possible."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from data_prep.dataset.checksums import check_shard
from data_prep.dataset.manifest import Manifest
from data_prep.dataset.mirror import local_path
from data_prep.formats.sample import Sample
from data_prep.formats.webdataset.scan import read_shard
from data_prep.images.codecs import Values, decode_image

T = TypeVar("T")


def first_samples(
    folder: Path, manifest: Manifest, most: Mapping[str, int], keep: Callable[[Values], T]
) -> dict[str, list[list[T]]]:
    """Return what ``keep`` makes of the first images of each class, at most ``most`` of them in a split.

    Each split has a list for each class and, at its end, one for the images whose class is not known. Labeled images
    are left out of the unlabeled split. Raises DataError on a damaged shard.
    """
    return {split: _first_of_split(folder, manifest, split, count, keep) for split, count in most.items()}


def _first_of_split(
    folder: Path, manifest: Manifest, split: str, most: int, keep: Callable[[Values], T]
) -> list[list[T]]:
    twice = _labeled_twice(manifest) if split == "unlabeled" else frozenset()
    wanted = [min(most, count) for count in _available(manifest, split)]
    found: list[list[T]] = [[] for _ in wanted]
    missing = sum(wanted)
    for sample in _samples(folder, manifest, split) if missing else ():
        kept = found[sample.label]  # label -1 is the last list
        if sample.key not in twice and len(kept) < wanted[sample.label]:
            kept.append(keep(decode_image(sample.image, manifest.shape, manifest.image_format)))
            missing -= 1
            if not missing:
                break
    return found


def _labeled_twice(manifest: Manifest) -> frozenset[int]:
    """Return the keys of the labeled images that are in the unlabeled split too."""
    return frozenset(manifest.labeled_ids) if manifest.options.get("include_labeled") else frozenset()


def _available(manifest: Manifest, split: str) -> list[int]:
    """Return the number of images of each class, and last of those of unknown class."""
    counts = manifest.counts[split]
    if split != "unlabeled":
        return [*counts, 0]
    labeled = manifest.counts["labeled"] if _labeled_twice(manifest) else (0,) * len(counts)
    return [*(both - known for both, known in zip(counts, labeled, strict=True)), manifest.unknown]


def _samples(folder: Path, manifest: Manifest, split: str) -> Iterator[Sample]:
    for shard in manifest.split(split):
        path = local_path(folder, shard.name)
        check_shard(folder, shard)
        yield from read_shard(path, shard)
