"""What a user asks for, with every value checked before anything is read or written."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from data_prep.images.codecs import CODECS, ORIGINAL
from data_prep.prepare.progress import WHOLE, Share
from data_prep.sources import LoadOptions, Source, find_source
from data_prep.splits.label_counts import LISTED, check_numbers, read_labels
from data_prep.system.errors import UsageError
from data_prep.system.types import Option

TREE_OPTIONS: dict[str, Option] = {"resize": 0, "quality": 90}
"""What sources of image files read, with what it is if it is left out; a resize of 0 leaves sizes as they are."""
FILES = ("csv", "unlabeled", "label_list")
"""Options that name a file or a folder."""
READABLE = ("csv", "label_list")


@dataclass(frozen=True)
class Request:
    """A call of ``smpl-data prepare``; None stands for the data set's default.

    ``labels`` and ``val`` are a number of images that the classes share evenly, one for each class in their order
    ("5+1"), or a part of every class ("10%"). ``share`` is the part of the shards that this call is to write.
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
    share: Share = WHOLE

    @property
    def folder(self) -> Path:
        """Where the prepared set goes."""
        return self.out or default_out(self.dataset, self.labels, self.seed, self.extra)

    def load_options(self, options: dict[str, Option]) -> LoadOptions:
        """Where the source is to load from, and how its images are to be stored."""
        return LoadOptions(
            self.source,
            self.checksum,
            self.extra,
            image_format=str(options["image_format"]),
            resize=int(options.get("resize", 0)) or None,
            quality=int(options.get("quality", TREE_OPTIONS["quality"])),
            csv=self.csv,
            unlabeled=self.unlabeled,
            label_list=self.label_list,
            test=self.test,
        )


def default_out(dataset: str, labels: int | str | None, seed: int, extra: bool = False) -> Path:
    """``${SMPL_DATA or "data"}/{dataset}-{labels}-seed{seed}``, with ``-extra`` where that is asked for."""
    count = find_source(dataset).labels if labels is None else labels
    name = f"{dataset}-{count}-seed{seed}{'-extra' if extra else ''}".replace("%", "pct")
    if len(name) > 200:  # a number for each of a hundred classes
        name = f"{dataset}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return Path(os.environ.get("SMPL_DATA") or "data") / name


def settle(request: Request) -> tuple[Source, dict[str, Option]]:
    """The source and every option that shapes the content, defaults filled in. Raises UsageError."""
    source = find_source(request.dataset)
    labels = LISTED if request.label_list is not None and request.labels is None else request.labels
    options: dict[str, Option] = {
        "labels": _read("--labels", source.labels if labels is None else labels),
        "val": _read("--val", source.val if request.val is None else request.val),
        "seed": request.seed,
        "include_labeled": request.include_labeled,
        "extra": request.extra,
        "image_format": source.image_format if request.image_format is None else request.image_format,
        "shard_size": source.shard_size if request.shard_size is None else request.shard_size,
    }
    _check_ranges(request, options)
    _check_format(str(options["image_format"]), source)
    _check_applies(request, source)
    _check_list(request, options)
    if source.classes:
        check_options(options, len(source.classes))
    return source, options | _tree_options(request, source)


def check_options(options: dict[str, Option], classes: int) -> None:
    """Check the numbers against the classes, once these are known. Raises UsageError."""
    for option, lowest in {"--labels": 1, "--val": 0}.items():
        wanted = options[option.removeprefix("--")]
        check_numbers(option, wanted if isinstance(wanted, str) else int(wanted), classes, lowest=lowest)


def _read(option: str, given: int | str) -> int | str:
    try:
        return read_labels(given)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _check_ranges(request: Request, options: dict[str, Option]) -> None:
    given = {
        "--seed": (request.seed, 0),
        "--shard-size": (int(options["shard_size"]), 1),
        "--workers": (request.workers, 1),
        "--resize": (request.resize, 0),
        "--quality": (request.quality, 1),
    }
    for option, (value, least) in given.items():
        if value is not None and value < least:
            raise UsageError(f"{option} {value}: the nearest valid choice is {least}")
    if (request.quality or 0) > 100:
        raise UsageError(f"--quality {request.quality}: the nearest valid choice is 100")
    if not 0 <= request.share.index < request.share.count:
        raise UsageError(f"--shard-range {request.share.index}/{request.share.count}: I/N with I from 0 to N - 1")


def _check_format(image_format: str, source: Source) -> None:
    if image_format not in CODECS:
        raise UsageError(f"--image-format {image_format}: known are {', '.join(CODECS)}")
    dtype = CODECS[source.image_format].dtype
    fitting = [name for name, codec in CODECS.items() if codec.dtype == dtype]
    if "resize" not in source.takes:  # it holds pixels, not files
        fitting = [name for name in fitting if name != ORIGINAL]
    if image_format not in fitting:
        what = "pixels without files" if image_format == ORIGINAL else str(dtype)
        raise UsageError(f"--image-format {image_format}: {source.name} holds {what}; choose {' or '.join(fitting)}")


def _check_applies(request: Request, source: Source) -> None:
    if request.extra and not source.has_extra:
        raise UsageError(f"--extra: {source.name} has no extra images")
    if not source.files and (request.source is not None or not request.checksum):
        option = "--source" if request.source is not None else "--checksum off"
        raise UsageError(f"{option}: {source.name} is embedded and reads no files; leave it out")
    if not request.checksum and not source.downloads and "checksum" not in source.takes:
        raise UsageError(f"--checksum off: {source.name} has no published checksums; leave it out")
    for name in (*TREE_OPTIONS, *FILES, "test"):
        if getattr(request, name) is not None and name not in source.takes:
            raise UsageError(f"--{name.replace('_', '-')}: {source.name} does not read it; leave it out")
    _check_paths(request, source)


def _check_paths(request: Request, source: Source) -> None:
    if request.source is None and not source.downloads:
        raise UsageError(f"--source is missing: name {' or '.join(source.files)}, for {source.name} is not downloaded")
    for name in ("source", *FILES):
        path: Path | None = getattr(request, name)
        if path is not None and not path.exists():
            must = f"; it must hold {' or '.join(source.files)}" if name == "source" else ""
            raise UsageError(f"--{name.replace('_', '-')} {path} does not exist{must}")
        if path is not None and name in READABLE and not path.is_file():
            raise UsageError(f"--{name.replace('_', '-')} {path} is not a regular file; name one")


def _check_list(request: Request, options: dict[str, Option]) -> None:
    if options["val"] == LISTED:
        raise UsageError(f"--val {LISTED}: a number of images, one for each class (5+1), or a part (10%)")
    if options["labels"] == LISTED and request.label_list is None:
        raise UsageError(f"--labels {LISTED}: give the list with --label-list FILE")
    if options["labels"] != LISTED and request.label_list is not None:
        raise UsageError(f"--label-list {request.label_list}: says which images are labeled; leave --labels out")


def _tree_options(request: Request, source: Source) -> dict[str, Option]:
    """The options that only some sources read; files that were named, by what they hold or are called."""
    options: dict[str, Option] = {}
    for name, default in TREE_OPTIONS.items():
        if name in source.takes:
            given = getattr(request, name)
            options[name] = default if given is None else given
    if request.test is not None:
        options["test"] = request.test
    for name in FILES:
        path: Path | None = getattr(request, name)
        if path is not None:
            options[name] = path.name if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return options
