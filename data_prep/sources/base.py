"""The interface of a data source: its names and defaults, and a function that loads or lists its images."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from data_prep.images.codecs import CODECS, Values
from data_prep.images.encoded import EncodedImage, RejectedImage
from data_prep.images.pixel_stats import Sums
from data_prep.system.errors import DataError
from data_prep.system.types import Labels

OPTIONAL = frozenset({"csv", "unlabeled", "label_list", "test", "resize", "quality"})
"""The load options that only some sources read; see :attr:`Source.takes`."""


@dataclass(frozen=True)
class LoadOptions:
    """Where a source is loaded from, and how its images are stored."""

    path: Path | None = None
    """A folder or an archive; None means the published download."""
    checksum: bool = True
    """Whether the files must be the published ones."""
    extra: bool = False
    """Whether the additional training images are loaded, if the source has any."""
    image_format: str = "png"
    """A key of :data:`data_prep.images.codecs.CODECS`."""
    resize: int | None = None
    """The shorter side in pixels to which larger images are reduced."""
    quality: int = 90
    """The quality of the JPEGs that are encoded, 1 to 100."""
    csv: Path | None = None
    """A CSV table of files and labels."""
    unlabeled: Path | None = None
    """A folder of images without labels."""
    label_list: Path | None = None
    """A list of the training images that are labeled."""
    test: str | None = None
    """Test images, if the source has none: a percentage of every class (by default 20%), or a number in all."""


class ImagePart(Protocol):
    """Images with their labels, not yet encoded: a whole set of a source, or the samples of one shard.

    It is sent to worker processes, so it must be picklable, and small if its images are files.
    """

    @property
    def labels(self) -> Labels:
        """The labels, int64 [N]; -1 if unknown."""

    def select(self, indices: Labels) -> "ImagePart":
        """Return the samples at ``indices``, in that order."""

    def encoded(self) -> Iterator[EncodedImage | RejectedImage]:
        """Yield the N images in order, and encode each when it is asked for."""


@dataclass(frozen=True)
class ArrayPart:
    """An :class:`ImagePart` of decoded images in memory."""

    images: Values
    """[N, H, W, C], uint8 or float32."""
    labels: Labels
    """int64 [N]; -1 if unknown."""
    image_format: str

    def select(self, indices: Labels) -> "ArrayPart":
        """Return copies of the samples at ``indices``."""
        return ArrayPart(self.images[indices], self.labels[indices], self.image_format)

    def encoded(self) -> Iterator[EncodedImage | RejectedImage]:
        """Encode one image after the other."""
        codec = CODECS[self.image_format]
        for image in self.images:
            yield EncodedImage(codec.extension, codec.encode(image), image.shape, Sums.of_image(image))


@dataclass(frozen=True)
class RawSet:
    """The images of a source, not yet encoded; the key of a sample is its index in ``train`` or in ``test``."""

    classes: tuple[str, ...]
    train: ImagePart
    test: ImagePart
    checksums: dict[str, str]
    """The sha256 of each source file, or of the list of the image files."""
    val_ids: Labels | None = None
    """The indices into ``train`` of the source's own validation images; None if it has none."""
    labeled_ids: Labels | None = None
    """The indices into ``train`` of the labeled images that the user's ``--label-list`` names; None without a list."""
    remarks: Callable[[], Iterable[str]] = tuple
    """Returns what the source left out or decided without being asked, one line each. It may list the files again, so
    it is called only when the set is written."""


@dataclass(frozen=True)
class Source:
    """A data set that can be prepared, and the defaults of its preparation."""

    name: str
    classes: tuple[str, ...]
    """The names in the order of the labels; empty if only the source's files name them."""
    labels: int | str
    """The default number of labeled images, or their share, such as ``10%``."""
    val: int | str
    """The default number of validation images, or their share."""
    shard_size: int
    """The default number of samples in a shard."""
    load: Callable[[LoadOptions], RawSet]
    files: tuple[str, ...] = ()
    """What ``--source`` must hold; nothing if the data set is embedded."""
    has_extra: bool = False
    """Whether there are additional training images."""
    image_format: str = "png"
    """The default format. It sets the type of the images: float32 for ``npy``, uint8 for all others."""
    takes: frozenset[str] = frozenset()
    """The options of :data:`OPTIONAL` that the source reads."""
    samples_per_worker: int = 4000
    """The number of samples below which a worker process costs more to start than it saves."""
    named_by_files: bool = False
    """Whether a prepared set has the name of the folder of its files by default, instead of the data set's name."""
    downloads: bool = True
    """Whether the data set can be prepared without ``--source``, because it is downloaded or embedded."""


def check_raw(raw: RawSet, source: Source) -> None:
    """Check types, shapes, the range of the labels, and that every class has a training image.

    Raises DataError with the name of the part.
    """
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
