"""What a user asks for, with every value checked before anything is read or written."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.errors import UsageError
from data_prep.images import CODECS
from data_prep.manifest import Option
from data_prep.sources import Source, find_source
from data_prep.split import Labels


@dataclass(frozen=True)
class Request:
    """A call of ``smpl-data prepare``; None stands for the data set's default."""

    dataset: str
    out: Path | None = None
    source: Path | None = None
    labels: int | None = None
    val: int | None = None
    seed: int = 0
    include_labeled: bool = True
    image_format: str = "png"
    checksum: bool = True
    extra: bool = False
    shard_size: int | None = None
    workers: int | None = None

    @property
    def folder(self) -> Path:
        """Where the prepared set goes."""
        return self.out or default_out(self.dataset, self.labels, self.seed, self.extra)


def default_out(dataset: str, labels: int | None, seed: int, extra: bool = False) -> Path:
    """``${SMPL_DATA or "data"}/{dataset}-{labels}-seed{seed}``, with ``-extra`` where that is asked for."""
    count = find_source(dataset).labels if labels is None else labels
    return Path(os.environ.get("SMPL_DATA") or "data") / f"{dataset}-{count}-seed{seed}{'-extra' if extra else ''}"


def settle(request: Request) -> tuple[Source, dict[str, Option]]:
    """The source and every option that shapes the content, defaults filled in. Raises UsageError."""
    source = find_source(request.dataset)
    options: dict[str, Option] = {
        "labels": source.labels if request.labels is None else request.labels,
        "val": source.val if request.val is None else request.val,
        "seed": request.seed,
        "include_labeled": request.include_labeled,
        "extra": request.extra,
        "image_format": request.image_format,
        "shard_size": source.shard_size if request.shard_size is None else request.shard_size,
    }
    _check_ranges(request, options)
    _check_applies(request, source)
    _check_count("--labels", int(options["labels"]), len(source.classes), lowest=len(source.classes))
    _check_count("--val", int(options["val"]), len(source.classes), lowest=0)
    return source, options


def _check_ranges(request: Request, options: dict[str, Option]) -> None:
    workers = 1 if request.workers is None else request.workers
    lowest = {"--seed": (request.seed, 0), "--shard-size": (int(options["shard_size"]), 1), "--workers": (workers, 1)}
    for option, (value, least) in lowest.items():
        if value < least:
            raise UsageError(f"{option} {value}: the nearest valid choice is {least}")
    if request.image_format not in CODECS:
        raise UsageError(f"--image-format {request.image_format}: known are {', '.join(CODECS)}")


def _check_applies(request: Request, source: Source) -> None:
    if request.extra and not source.has_extra:
        raise UsageError(f"--extra: {source.name} has no extra images")
    if not source.files and (request.source is not None or not request.checksum):
        option = "--source" if request.source is not None else "--checksum off"
        raise UsageError(f"{option}: {source.name} is embedded and reads no files; leave it out")
    if request.source is not None and not request.source.exists():
        raise UsageError(f"--source {request.source} does not exist; it must hold {' or '.join(source.files)}")


def _check_count(option: str, value: int, classes: int, lowest: int) -> None:
    if value >= lowest and value % classes == 0:
        return
    nearest = max(lowest, round(value / classes) * classes)
    raise UsageError(f"{option} {value}: must be a multiple of the {classes} classes; the nearest valid is {nearest}")


def check_room(train_labels: Labels, source: Source, options: dict[str, Option]) -> None:
    """Check that every class has the images that ``labels`` and ``val`` take together. Raises UsageError.

    With the labeled images excluded, every class must keep an unlabeled image as well.
    """
    classes = len(source.classes)
    labels, val = int(options["labels"]), int(options["val"])
    counts = np.bincount(train_labels, minlength=classes)
    scarcest = int(counts.argmin())
    room = int(counts[scarcest]) - (0 if options["include_labeled"] else 1)
    if (labels + val) // classes <= room:
        return
    most = room - val // classes
    valid = f"--labels {most * classes}" if most > 0 else f"--val {max(0, room - labels // classes) * classes}"
    if most <= 0 and labels // classes > room:
        valid = f"--labels {max(1, room) * classes} --val 0"
    needs = f"{(labels + val) // classes}{'' if options['include_labeled'] else ' and an unlabeled one'}"
    raise UsageError(
        f"--labels {labels} --val {val} need {needs} images a class, "
        f"class {source.classes[scarcest]!r} has {counts[scarcest]}; the nearest valid choice is {valid}"
    )
