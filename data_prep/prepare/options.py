"""What a user asks ``smpl-data prepare`` for, and the same with every value checked and every default filled in.

All checks that need no image are made by :func:`resolve`, before anything is read or written. Texts are parsed
elsewhere: numbers of labels such as 5+1 and 10% in ``splits/label_counts.py``, and options of the command line alone,
such as the range 2/8, in ``cli_types.py``.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from data_prep.images.codecs import CODECS, ORIGINAL
from data_prep.prepare.plan import Plan
from data_prep.sources import LoadOptions, Source, find_source
from data_prep.splits.label_counts import LISTED, check_label_counts, read_labels
from data_prep.system.errors import UsageError
from data_prep.system.types import Option

IMAGE_OPTIONS: dict[str, Option] = {"resize": 0, "quality": 90}
"""Options of sources that read image files, with their defaults; a resize of 0 leaves sizes as they are."""
PATH_OPTIONS = ("csv", "unlabeled", "label_list")
"""Options that name a file or a folder."""
FILE_OPTIONS = ("csv", "label_list")
"""Those of PATH_OPTIONS that must name a regular file."""

T = TypeVar("T")


@dataclass(frozen=True)
class ShardRange:
    """The shards that one of ``count`` calls writes: every ``count``-th shard of the plan, from number ``index`` on."""

    index: int = 0
    count: int = 1

    @property
    def suffix(self) -> str:
        """The part of a file's name that tells ranges apart; empty if one call writes all shards."""
        return f"-{self.index}-of-{self.count}" if self.count > 1 else ""

    def select(self, shards: Sequence[T]) -> Sequence[T]:
        """Return the shards of this range."""
        return shards[self.index :: self.count]


ALL_SHARDS = ShardRange()


@dataclass(frozen=True)
class PrepareRequest:
    """The options of one call of ``smpl-data prepare``; None stands for the data set's default.

    ``labels`` and ``val`` are a number of images that the classes share evenly, one number for each class in their
    order ("5+1"), or a percentage of every class ("10%").
    """

    dataset: str
    out: Path | None = None
    source: Path | None = None
    labels: int | str | None = None
    val: int | str | None = None
    seed: int = 0
    include_labeled: bool = True
    image_format: str | None = None
    checksum: bool = True
    extra: bool = False
    shard_size: int | None = None
    workers: int | None = None
    resize: int | None = None
    quality: int | None = None
    test: str | None = None
    csv: Path | None = None
    unlabeled: Path | None = None
    label_list: Path | None = None
    skip: bool = False
    """Leave out images that cannot be read, instead of failing at the first."""
    shard_range: ShardRange = ALL_SHARDS


@dataclass(frozen=True)
class ResolvedRequest:
    """A request whose values were checked and whose defaults are filled in."""

    source: Source
    load_options: LoadOptions
    """Where the source reads its files, and how its images are stored."""
    folder: Path
    """Where the prepared set is written."""
    options: dict[str, Option]
    """Every option that changes the bytes of the set, as its manifest states them."""
    workers: int | None
    """The number of worker processes; None to choose it by the number of images."""
    skip: bool
    """Leave out images that cannot be read."""
    shard_range: ShardRange

    @property
    def lists_files(self) -> bool:
        """Whether the source lists files of the user, which may have changed since the set was prepared."""
        return self.load_options.path is not None and not self.source.downloads

    @cached_property
    def plan(self) -> Plan:
        """The source's images, divided into shards; loaded or listed once. Raises UsageError or DataError."""
        return Plan.load(self.source, self.load_options, self.options)


def default_out(
    dataset: str,
    labels: int | str | None,
    seed: int,
    extra: bool = False,
    include_labeled: bool = True,
    source: Path | None = None,
) -> Path:
    """Return ``${SMPL_DATA or "data"}/{name}-{labels}-seed{seed}``.

    The name is that of the data set; for images of the user it is the name of the folder that ``source`` is, so that
    two folders have two sets. The whole ends with ``-extra`` for a set with the extra images, and with ``-disjoint``
    for one whose labeled images are not among the unlabeled ones.
    """
    known = find_source(dataset)
    count = known.labels if labels is None else labels
    kind = f"{'-extra' if extra else ''}{'' if include_labeled else '-disjoint'}"
    stem = _file_name(source) if source is not None and known.named_by_files else dataset
    name = f"{stem}-{count}-seed{seed}{kind}".replace("%", "pct")
    if len(name) > 200:  # one number for each of a hundred classes would be too long for a file name
        name = f"{dataset}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return Path(os.environ.get("SMPL_DATA") or "data") / name


def _file_name(source: Path) -> str:
    """Return the name of a folder or archive with letters, digits, dots and dashes alone."""
    return re.sub(r"[^\w.-]+", "-", source.resolve().name).strip(".-") or "folder"


def resolve(request: PrepareRequest) -> ResolvedRequest:
    """Check a request and fill in the defaults of its data set. Raises UsageError."""
    source = find_source(request.dataset)
    options = _common_options(request, source)
    _check_ranges(request, options)
    _check_format(str(options["image_format"]), source)
    _check_applies(request, source)
    _check_list(request, options)
    if source.classes:
        check_label_counts(options, len(source.classes))
    options |= _source_options(request, source)
    folder = request.out or default_out(
        request.dataset, request.labels, request.seed, request.extra, request.include_labeled, request.source
    )
    refuse_inside_source("--out", folder, request.dataset, request.source)
    return ResolvedRequest(
        source=source,
        load_options=_load_options(request, options),
        folder=folder,
        options=options,
        workers=request.workers,
        skip=request.skip,
        shard_range=request.shard_range,
    )


def refuse_inside_source(option: str, folder: Path, dataset: str, source: Path | None) -> None:
    """Raise UsageError if files would be written into a folder whose images are listed.

    They would be taken for images, or for classes, the next time.
    """
    listed = source is not None and source.is_dir() and not find_source(dataset).downloads
    if source is not None and listed and folder.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{folder} is inside of --source {source}; name a folder outside of it with {option}")


def _common_options(request: PrepareRequest, source: Source) -> dict[str, Option]:
    """Return the options that every source reads."""
    labels = LISTED if request.label_list is not None and request.labels is None else request.labels
    return {
        "labels": _read_count("--labels", source.labels if labels is None else labels),
        "val": _read_count("--val", source.val if request.val is None else request.val),
        "seed": request.seed,
        "include_labeled": request.include_labeled,
        "extra": request.extra,
        "image_format": source.image_format if request.image_format is None else request.image_format,
        "shard_size": source.shard_size if request.shard_size is None else request.shard_size,
    }


def _source_options(request: PrepareRequest, source: Source) -> dict[str, Option]:
    """Return the options that only some sources read.

    The value of an option that names a file is the sha256 of that file; if it names a folder, the name of the folder.
    """
    options: dict[str, Option] = {}
    for name, default in IMAGE_OPTIONS.items():
        if name in source.takes:
            given = getattr(request, name)
            options[name] = default if given is None else given
    if request.test is not None:
        options["test"] = request.test
    for name in PATH_OPTIONS:
        path: Path | None = getattr(request, name)
        if path is not None:
            options[name] = path.name if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return options


def _load_options(request: PrepareRequest, options: dict[str, Option]) -> LoadOptions:
    return LoadOptions(
        request.source,
        request.checksum,
        request.extra,
        image_format=str(options["image_format"]),
        resize=int(options.get("resize", 0)) or None,
        quality=int(options.get("quality", IMAGE_OPTIONS["quality"])),
        csv=request.csv,
        unlabeled=request.unlabeled,
        label_list=request.label_list,
        test=request.test,
    )


def _read_count(option: str, given: int | str) -> int | str:
    try:
        return read_labels(given)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _check_ranges(request: PrepareRequest, options: dict[str, Option]) -> None:
    minimums = {
        "--split-seed": (request.seed, 0),
        "--shard-size": (int(options["shard_size"]), 1),
        "--workers": (request.workers, 1),
        "--resize": (request.resize, 0),
        "--quality": (request.quality, 1),
    }
    for option, (value, minimum) in minimums.items():
        if value is not None and value < minimum:
            raise UsageError(f"{option} {value}: the nearest valid choice is {minimum}")
    if (request.quality or 0) > 100:
        raise UsageError(f"--quality {request.quality}: the nearest valid choice is 100")
    index, count = request.shard_range.index, request.shard_range.count
    if not 0 <= index < count:
        raise UsageError(f"--shard-range {index}/{count}: I/N with I from 0 to N - 1")


def _check_format(image_format: str, source: Source) -> None:
    if image_format not in CODECS:
        raise UsageError(f"--image-format {image_format}: known are {', '.join(CODECS)}")
    dtype = CODECS[source.image_format].dtype
    valid = [name for name, codec in CODECS.items() if codec.dtype == dtype]
    if "resize" not in source.takes:  # the source holds pixels, so there is no original file to keep
        valid = [name for name in valid if name != ORIGINAL]
    if image_format not in valid:
        what = "pixels without files" if image_format == ORIGINAL else str(dtype)
        raise UsageError(f"--image-format {image_format}: {source.name} holds {what}; choose {' or '.join(valid)}")


def _check_applies(request: PrepareRequest, source: Source) -> None:
    """Refuse options that this source would ignore."""
    if request.extra and not source.has_extra:
        raise UsageError(f"--extra: {source.name} has no extra images")
    if not source.files and (request.source is not None or not request.checksum):
        option = "--source" if request.source is not None else "--checksum off"
        raise UsageError(f"{option}: {source.name} is embedded and reads no files; leave it out")
    if not request.checksum and not source.downloads and "checksum" not in source.takes:
        raise UsageError(f"--checksum off: {source.name} has no published checksums; leave it out")
    for name in (*IMAGE_OPTIONS, *PATH_OPTIONS, "test"):
        if getattr(request, name) is not None and name not in source.takes:
            raise UsageError(f"--{name.replace('_', '-')}: {source.name} does not read it; leave it out")
    _check_paths(request, source)


def _check_paths(request: PrepareRequest, source: Source) -> None:
    if request.source is None and not source.downloads:
        raise UsageError(f"--source is missing: name {' or '.join(source.files)}, for {source.name} is not downloaded")
    for name in ("source", *PATH_OPTIONS):
        path: Path | None = getattr(request, name)
        if path is not None and not path.exists():
            must = f"; it must hold {' or '.join(source.files)}" if name == "source" else ""
            raise UsageError(f"--{name.replace('_', '-')} {path} does not exist{must}")
        if path is not None and name in FILE_OPTIONS and not path.is_file():
            raise UsageError(f"--{name.replace('_', '-')} {path} is not a regular file; name one")


def _check_list(request: PrepareRequest, options: dict[str, Option]) -> None:
    if options["val"] == LISTED:
        raise UsageError(f"--val {LISTED}: give a number of images, one number for each class (5+1), or a part (10%)")
    if options["labels"] == LISTED and request.label_list is None:
        raise UsageError(f"--labels {LISTED}: give the list with --label-list FILE")
    if options["labels"] != LISTED and request.label_list is not None:
        raise UsageError(f"--label-list {request.label_list}: says which images are labeled; leave --labels out")
