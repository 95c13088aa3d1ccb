"""The manifest of a prepared data set: which files the folder holds, and their sizes and checksums."""

import hashlib
import json
import math
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from data_prep.images.codecs import CODECS
from data_prep.system.atomic_files import write_durably
from data_prep.system.errors import DataError
from data_prep.system.types import Option

SCHEMA: int = 2
"""Version of the format of ``manifest.json``."""
MANIFEST = "manifest.json"
MAX_SHAPE_SIDE = 16_384
"""Pixels: a manifest that states a larger height or width is refused as damaged. The bound of an image file that is
prepared is another one, ``MAX_FILE_SIDE`` in ``images/normalize.py``."""

SplitName = Literal["labeled", "unlabeled", "val", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
SHARD_NAME = re.compile(rf"({'|'.join(SPLITS)})-\d{{6}}\.tar")
SHA256 = re.compile(r"[0-9a-f]{64}")
STRICT: dict[str, Any] = {"strict": True, "extra": "forbid"}


@dataclass(frozen=True)
class Shard:
    """One tar file. The field names are keys of the manifest."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    split: str
    samples: int
    """Number of samples."""
    bytes: int
    """Size of the tar in bytes."""
    sha256: str
    """The sha256 of the tar."""
    index: str
    """The sha256 of the index of the tar."""

    def __post_init__(self) -> None:
        """Refuse a name that could leave the folder. Raises ValueError."""
        match = SHARD_NAME.fullmatch(self.name)
        if match is None or match[1] != self.split:
            raise ValueError(f"shard name {self.name!r} is not {self.split}-NNNNNN.tar")
        if self.samples < 1 or self.bytes < 1 or not all(map(SHA256.fullmatch, (self.sha256, self.index))):
            raise ValueError(f"shard {self.name}: samples, bytes or sha256 out of range")

    @property
    def index_name(self) -> str:
        """The name of the file that says where in the tar each sample is."""
        return self.name.removesuffix(".tar") + ".idx"


@dataclass(frozen=True)
class Manifest:
    """A prepared data set. The field names are keys of ``manifest.json``."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    dataset: str
    """Name of the source."""
    classes: tuple[str, ...]
    """Names of the classes in the order of the labels."""
    shape: tuple[int, int, int]
    """[H, W, C] of all images, with H = W = 0 if they differ in size."""
    image_format: str
    """A key of :data:`data_prep.images.codecs.CODECS`."""
    counts: dict[str, tuple[int, ...]]
    """Images of each class in each split. Those of the unlabeled split are counted by their hidden classes: the true
    classes, which the set stores but training must not use."""
    shards: tuple[Shard, ...]
    """All shards in order; a split without samples has none."""
    labeled_ids: tuple[int, ...]
    """Sorted keys of the labeled images, which are their indices in the source's training set."""
    mean: tuple[float, ...]
    """Mean of the training images per channel, in the images' own units: 0..255 for pictures."""
    std: tuple[float, ...]
    """Population standard deviation of the training images per channel, in the same units."""
    options: dict[str, Option]
    """The options of ``smpl-data prepare`` that change the bytes of the set."""
    sources: dict[str, str]
    """The sha256 of each source file, or of the listing of a folder of images."""
    unknown: int = 0
    """Unlabeled images without a hidden class, because their true class is not known."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """Check the fields against each other. Raises ValueError."""
        names = [shard.name for shard in self.shards]
        channels = self.shape[2]
        rules = {
            "shape out of range": (self.varied or all(1 <= side <= MAX_SHAPE_SIDE for side in self.shape[:2]))
            and channels in (1, 3),
            f"image_format is none of {', '.join(CODECS)}": self.image_format in CODECS,
            "a shard is listed twice": len(set(names)) == len(names),
            f"counts must name the splits {', '.join(SPLITS)}": set(self.counts) == set(SPLITS),
            "counts and classes differ": all(len(row) == len(self.classes) for row in self.counts.values()),
            "mean and std need one value a channel": len(self.mean) == len(self.std) == channels,
            "mean and std must be finite": all(map(math.isfinite, self.mean + self.std)),
            "unknown is negative": self.unknown >= 0,
            "labeled_ids repeat": len(set(self.labeled_ids)) == len(self.labeled_ids),
        }
        broken = [text for text, holds in rules.items() if not holds]
        if not broken:
            broken = [
                f"{name}: counts and shards differ" for name in SPLITS if self.samples(name) != self._counted(name)
            ]
        if not broken and len(self.labeled_ids) != self.samples("labeled"):
            broken = ["labeled_ids and the labeled shards differ"]
        if broken:
            raise ValueError("; ".join(broken))

    @property
    def varied(self) -> bool:
        """Whether the images differ in size."""
        return self.shape[:2] == (0, 0)

    def split(self, name: str) -> tuple[Shard, ...]:
        """Return the shards of one split, in order."""
        return tuple(shard for shard in self.shards if shard.split == name)

    def samples(self, name: str) -> int:
        """Return the number of samples in one split."""
        return sum(shard.samples for shard in self.split(name))

    def _counted(self, name: str) -> int:
        return sum(self.counts[name]) + (self.unknown if name == "unlabeled" else 0)

    def to_json(self) -> str:
        """Return the canonical text: sorted keys, one line for each field, no time stamps."""
        dumps = json.JSONEncoder(sort_keys=True, allow_nan=False).encode
        lines = (f'"{key}": {dumps(value)}' for key, value in sorted(asdict(self).items()))
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @property
    def fingerprint(self) -> str:
        """The sha256 of the canonical text: two prepared sets with the same fingerprint have the same bytes."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def has_manifest(folder: Path) -> bool:
    """Return whether the folder holds a ``manifest.json``, which is written when the set is finished."""
    with suppress(OSError):  # such as a folder that may not be searched
        return (folder / MANIFEST).exists()
    return False


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.json`` atomically. Raises DataError."""
    write_durably(folder / MANIFEST, manifest.to_json().encode())


def load_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json``. Raises DataError if it is missing, damaged or of another schema."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - importing it takes longer than the command's help

    path = folder / MANIFEST
    remedy = "prepare the data set again into an empty folder with `smpl-data prepare`"
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is missing: not a prepared data set; run `smpl-data prepare` first") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); {remedy}") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{path} has schema {schema!r}, this version reads {SCHEMA}; {remedy}")
    missing = {field.name for field in fields(Manifest)} - set(content)
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}; {remedy}")
    try:
        return TypeAdapter(Manifest).validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path} is damaged: {where + ': ' if where else ''}{first['msg']}; {remedy}") from None
