"""Check a prepared set from its manifest down to every image, and list all damage instead of the first."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.dataset.checksums import expected_index, expected_tar
from data_prep.dataset.manifest import SPLITS, Manifest, Shard
from data_prep.formats.recordio.checksums import recordio_damage
from data_prep.formats.sample import Sample
from data_prep.formats.webdataset.scan import Fault, load_bytes, scan_shard
from data_prep.images.codecs import Shape, decode_image
from data_prep.system.atomic_files import PARTIAL
from data_prep.system.errors import DataError
from data_prep.system.workers import available_cpus, run_jobs

SAMPLES_PER_WORKER = 10000
"""Samples below which a worker process costs more to start than it saves."""


@dataclass(frozen=True)
class ShardCheck:
    """One shard to check; it is sent to a worker process."""

    folder: Path
    shard: Shard
    shape: Shape
    """[H, W, C] of its images."""
    image_format: str
    classes: int
    """The number of classes."""


@dataclass(frozen=True)
class ShardContents:
    """What a shard holds."""

    split: str
    samples: tuple[tuple[int, int], ...]
    """Key and label of each intact sample."""
    faults: tuple[Fault, ...]
    """All damage."""


def find_damage(folder: Path, manifest: Manifest, workers: int | None = None) -> list[str]:
    """Return all damage of a set, one line each; an empty list for a good set."""
    shape, image_format, classes = manifest.shape, manifest.image_format, len(manifest.classes)
    jobs = [ShardCheck(folder, shard, shape, image_format, classes) for shard in manifest.shards]
    samples = sum(shard.samples for shard in manifest.shards)
    count = workers or max(1, min(available_cpus(), samples // SAMPLES_PER_WORKER))
    with closing(run_jobs(check_shard_contents, jobs, count)) as results:
        contents = list(results)
    lines = sorted(str(fault) for shard in contents for fault in shard.faults)
    lines += [line for split in SPLITS for line in _split_damage(manifest, split, _keys(contents, split))]
    return [
        *lines,
        *_overlaps(manifest, contents),
        *_unknown_files(folder, manifest),
        *recordio_damage(folder, manifest),
    ]


def check_shard_contents(job: ShardCheck) -> ShardContents:
    """Check size, sha256, members, labels and every image of one shard."""
    samples: list[tuple[int, int]] = []
    faults: list[Fault] = []
    for item in _scan(job):
        if isinstance(item, Fault):
            faults.append(item)
            continue
        samples.append((item.key, item.label))
        faults += _sample_faults(item, job)
    return ShardContents(job.shard.split, tuple(samples), tuple(faults))


def _scan(job: ShardCheck) -> Iterator[Sample | Fault]:
    try:
        content = load_bytes(job.folder / job.shard.name)
    except DataError:
        yield Fault(job.shard.name, None, "missing or unreadable")
        return
    if problem := expected_tar(job.shard).mismatch_of(content):
        yield Fault(job.shard.name, None, problem)
    if not _index_matches(job):
        yield Fault(job.shard.name, None, f"its index {job.shard.index_name} is missing or belongs to another tar")
    yield from scan_shard(content, job.shard)


def _index_matches(job: ShardCheck) -> bool:
    try:
        content = load_bytes(job.folder / job.shard.index_name)
    except DataError:
        return False
    return expected_index(job.shard).mismatch_of(content) is None


def _sample_faults(sample: Sample, job: ShardCheck) -> Iterator[Fault]:
    if sample.label >= job.classes:
        yield Fault(job.shard.name, sample.key, f"label {sample.label} of {job.classes} classes")
    try:
        decode_image(sample.image, job.shape, job.image_format)
    except DataError as error:
        yield Fault(job.shard.name, sample.key, str(error))


def _keys(contents: list[ShardContents], split: str) -> list[tuple[int, int]]:
    return [sample for shard in contents if shard.split == split for sample in shard.samples]


def _split_damage(manifest: Manifest, split: str, samples: list[tuple[int, int]]) -> Iterator[str]:
    keys = [key for key, _ in samples]
    if repeated := len(keys) - len(set(keys)):
        yield f"{split}: {repeated} keys are repeated"
    labels = np.array([label for _, label in samples if 0 <= label < len(manifest.classes)], dtype=np.int64)
    found = np.bincount(labels, minlength=len(manifest.classes))
    for name, has, wants in zip(manifest.classes, found, manifest.counts[split], strict=True):
        if has != wants:
            yield f"{split}: class {name!r} has {has} samples, the manifest says {wants}"
    if split == "labeled" and set(keys) != set(manifest.labeled_ids):
        yield "labeled: the keys are not the manifest's labeled_ids"


def _overlaps(manifest: Manifest, contents: list[ShardContents]) -> Iterator[str]:
    labeled, unlabeled, val = ({key for key, _ in _keys(contents, split)} for split in ("labeled", "unlabeled", "val"))
    if shared := val & (labeled | unlabeled):
        yield f"val: {len(shared)} of its images are in the training splits as well"
    if not manifest.options.get("include_labeled") and (shared := labeled & unlabeled):
        yield f"unlabeled: {len(shared)} of its images are in the labeled split, which the options exclude"


def _unknown_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    known = {shard.name for shard in manifest.shards}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".tar", PARTIAL) and path.name not in known:
            yield f"{path.name}: not in the manifest"
