"""What a source of raw images is: names, defaults and a function that loads or lists them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.images.codecs import CODECS, Values
from data_prep.images.encoded import EncodedImage, ImagePart, RejectedImage
from data_prep.images.pixel_stats import Sums
from data_prep.system.errors import DataError
from data_prep.system.types import Labels

OPTIONAL = frozenset({"csv", "unlabeled", "label_list", "test", "resize", "quality"})
"""The options that only some sources read; see :attr:`Source.takes`."""


@dataclass(frozen=True)
class LoadOptions:
    """Where to load from and how to store it: ``path`` is a folder or archive, None means the published download.

    ``checksum`` asks for the published bytes; ``extra`` for the additional training images, where there are any. The
    rest is read by the sources that say so in ``takes``.
    """

    path: Path | None = None
    checksum: bool = True
    extra: bool = False
    image_format: str = "png"
    resize: int | None = None
    """Pixels of the shorter side; larger images are made that small."""
    quality: int = 90
    """Of the JPEGs that are encoded anew."""
    csv: Path | None = None
    """A table of files and labels."""
    unlabeled: Path | None = None
    """A folder of images without labels."""
    label_list: Path | None = None
    """A list of the training images that are labeled."""
    test: str | None = None
    """Test images where the source sets none apart: a percentage of every class (20% if absent), or a number in all."""


@dataclass(frozen=True)
class ArrayPart:
    """Decoded images [N, H, W, C] of the source's type, labels int64 [N], -1 where unknown."""

    images: Values
    labels: Labels
    image_format: str

    def select(self, indices: Labels) -> "ArrayPart":
        """Copy the samples at ``indices`` out."""
        return ArrayPart(self.images[indices], self.labels[indices], self.image_format)

    def encoded(self) -> Iterator[EncodedImage | RejectedImage]:
        """Encode one image after the other."""
        codec = CODECS[self.image_format]
        for image in self.images:
            yield EncodedImage(codec.extension, codec.encode(image), image.shape, Sums.of_image(image))


@dataclass(frozen=True)
class RawSet:
    """A source's images, not yet encoded; the key of a sample is its index in ``train`` or in ``test``."""

    classes: tuple[str, ...]
    train: ImagePart
    test: ImagePart
    checksums: dict[str, str]
    """sha256 of each source file, or of the listing of a tree."""
    val_ids: Labels | None = None
    """Those of ``train`` that the source itself sets apart for validation."""
    labeled_ids: Labels | None = None
    """Those of ``train`` that a given list labels."""


@dataclass(frozen=True)
class Source:
    """A data set: ``files`` names what ``--source`` must hold (none: embedded); defaults are numbers of images.

    ``image_format`` is the usual one, whose type of values the images have: uint8 for pictures, float32 for ``npy``.
    """

    name: str
    classes: tuple[str, ...]
    """In the order of the labels; empty where only the source's own files tell."""
    labels: int | str
    val: int | str
    shard_size: int
    load: Callable[[LoadOptions], RawSet]
    files: tuple[str, ...] = ()
    has_extra: bool = False
    image_format: str = "png"
    takes: frozenset[str] = frozenset()
    """Options that it reads, of :data:`OPTIONAL`."""
    samples_per_worker: int = 4000
    """Below this a worker process costs more to start than it saves."""
    downloads: bool = True
    """Whether it is got by itself if no ``--source`` is given."""


def check_raw(raw: RawSet, source: Source) -> None:
    """Check types, shapes, label range and that every class has a training image. Raises DataError naming the part."""
    for name, part in {"train": raw.train, "test": raw.test}.items():
        where = f"{source.name} {name} set"
        if isinstance(part, ArrayPart):
            _check_images(part, raw.train, source, where)
        labels, lowest = part.labels, -1 if name == "train" else 0
        if len(labels) and not lowest <= labels.min() <= labels.max() < len(raw.classes):
            raise DataError(f"{where}: labels {labels.min()}..{labels.max()} for {len(raw.classes)} classes")
    known = raw.train.labels[raw.train.labels >= 0]
    empty = np.flatnonzero(np.bincount(known, minlength=len(raw.classes)) == 0)
    if len(empty):
        raise DataError(f"{source.name} train set: no image of class {raw.classes[empty[0]]!r}")


def _check_images(part: ArrayPart, train: ImagePart, source: Source, where: str) -> None:
    images, dtype = part.images, CODECS[source.image_format].dtype
    shape = train.images.shape[1:] if isinstance(train, ArrayPart) else images.shape[1:]
    if images.dtype != dtype or images.ndim != 4 or images.shape[1:] != shape:
        raise DataError(f"{where}: images are {images.dtype} {images.shape}, not {dtype} [N, H, W, C] of one size")
    if part.labels.shape != (len(images),):
        raise DataError(f"{where}: {len(images)} images, but labels of shape {part.labels.shape}")
    if dtype == np.float32 and not np.isfinite(images).all():
        broken = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        raise DataError(f"{where}: image {broken[0]} holds NaN or infinity")
