"""ImageNet (ILSVRC 2012) or some of its classes: folders of JPEGs, or the official archives without unpacking.

Its validation images are the test set here, as in the literature. Our validation images are 1% of the training images:
these 12,812 images are enough to distinguish models that differ by a percent, and training hardly needs them.
"""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from data_prep.images.file_names import is_image
from data_prep.sources.archives.nested_tar import TarMember, tar_members
from data_prep.sources.base import LoadOptions, RawSet, Source
from data_prep.sources.image_files.folder import list_classes
from data_prep.sources.image_files.image_tree import ImageTree, normalizer, to_raw_set
from data_prep.sources.image_files.listing import folders_in, images_below, require_folder
from data_prep.sources.image_files.reader import MAX_FILE_BYTES, FilePart
from data_prep.sources.image_files.references import NO_ARCHIVE, References, Root, printable
from data_prep.sources.imagenet.val_labels import find_labels, is_synset
from data_prep.system.errors import DataError

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
KAGGLE = Path("ILSVRC/Data/CLS-LOC")
MAX_CLASS_BYTES = 1 << 36
"""The most bytes of the tar of a class; the largest official one has 0.2 GB."""


class Image(NamedTuple):
    """A listed image."""

    name: bytes
    """The name below its root."""
    size: int
    """Bytes."""
    offset: int
    """Bytes from the start of the archive; NO_ARCHIVE for a file of its own."""


def load(options: LoadOptions) -> RawSet:
    """List the images; only the headers of archives are read. Raises UsageError or DataError."""
    source = require_folder("--source", options.path)
    images = source / KAGGLE if (source / KAGGLE).is_dir() else source
    classes, train = _list_train(images, options)
    if len(classes) < 2:
        raise DataError(f"{images}: only one class, {', '.join(classes)}; a classifier needs two or more")
    return to_raw_set(ImageTree(classes, train, test=_list_test(source, images, classes, options)), options)


def _list_train(images: Path, options: LoadOptions) -> tuple[tuple[str, ...], FilePart]:
    """Return the sorted WordNet ids, and the training images sorted by name."""
    folder, archive = images / "train", images / TRAIN
    if folder.is_dir():
        root = _folder_root(images, "train")
        names = [name for name in folders_in(root.path) if is_synset(os.fsdecode(name))]
        if not names:
            raise DataError(f"{folder}: no class folder such as n01440764; `prepare folder` takes other names")
        return tuple(map(os.fsdecode, names)), list_classes(root, b"", names, options)
    if archive.is_file():
        listed = dict(sorted(_list_class_tars(archive)))
        labels = np.repeat(np.arange(len(listed), dtype=np.int64), list(map(len, listed.values())))
        return tuple(listed), FilePart(labels, References.join(list(listed.values())), normalizer(options))
    raise DataError(f"{images}: neither train/ nor {TRAIN}; --source takes the folder that holds one of them")


def _list_test(source: Path, images: Path, classes: tuple[str, ...], options: LoadOptions) -> FilePart:
    """Return the official validation images of these classes."""
    folder, archive = images / "val", images / VAL
    if not folder.is_dir() and not archive.is_file():
        raise DataError(f"{images}: neither val/ nor {VAL}; its images are the test set: put one of them there")
    root = _folder_root(images, "val") if folder.is_dir() else _archive_root(archive)
    names = folders_in(root.path) if folder.is_dir() else []
    if any(is_synset(os.fsdecode(name)) for name in names):
        _check_classes(folder, set(map(os.fsdecode, names)), classes)
        return list_classes(root, b"", list(map(os.fsencode, classes)), options)
    labels = find_labels((source, images), classes, checksum=options.checksum)
    listed = list(_list_folder(root) if folder.is_dir() else _list_archive(archive))
    return _select_classes(_references(root, listed), labels, classes, options)


def _folder_root(images: Path, name: str) -> Root:
    if (images / name).is_symlink():
        raise DataError(f"{images / name} is a link to a folder: refused; put the folder itself there")
    return Root(os.fsencode(images / name), f"{name}/")


def _archive_root(archive: Path) -> Root:
    return Root(os.fsencode(archive), f"{archive.name}: ")


def _check_classes(where: object, found: set[str], classes: tuple[str, ...]) -> None:
    """Raise DataError unless all training classes are found; others may be as well."""
    if missing := [name for name in classes if name not in found]:
        raise DataError(f"{where}: no image of {missing[0]}, which is a class of train; both need the same classes")


def _list_class_tars(archive: Path) -> Iterator[tuple[str, References]]:
    """Yield the WordNet id and the images of each tar in a tar."""
    seen: set[str] = set()
    for inner in tar_members(archive, MAX_CLASS_BYTES):
        path = PurePosixPath(inner.name)
        if path.suffix != ".tar" or not is_synset(path.stem) or path.stem in seen:
            what = "there twice" if path.stem in seen else "no class such as n01440764.tar"
            raise DataError(f"{archive}: member {inner.name!a} is {what}; get the official file")
        seen.add(path.stem)
        references = _references(_archive_root(archive), list(_list_archive(archive, f"{path.stem}/", inner)))
        if not len(references):
            raise DataError(f"{archive}: member {inner.name!a} holds no image; get the official file")
        yield path.stem, references


def _list_archive(archive: Path, prefix: str = "", inside: TarMember | None = None) -> Iterator[Image]:
    """Yield the images of a tar; their names are ``prefix`` and the file name, without the folders in the tar."""
    for member in tar_members(archive, MAX_FILE_BYTES, inside):
        name = os.fsencode(prefix + member.name.rpartition("/")[2])
        if is_image(name):
            yield Image(name, member.size, member.offset)


def _list_folder(root: Root) -> Iterator[Image]:
    return (Image(name, size, NO_ARCHIVE) for name, size in images_below(root))


def _references(root: Root, listed: list[Image]) -> References:
    """Return the images sorted by name. Raises DataError if a name occurs twice."""
    listed = sorted(listed)
    for image, following in pairwise(listed):
        if image.name == following.name:
            raise DataError(f"{printable(root.path)}: {printable(image.name)} is there twice; get the file again")
    names, sizes = [image.name for image in listed], [image.size for image in listed]
    return References.of(root, names, sizes, [image.offset for image in listed])


def _select_classes(
    references: References, labels: dict[str, str], classes: tuple[str, ...], options: LoadOptions
) -> FilePart:
    """Return the images of these classes; ``labels`` are WordNet ids by image name without suffix."""
    numbers = {name: number for number, name in enumerate(classes)}
    where = references.roots[0]
    found: list[int] = []
    for name in references.names:
        stem = os.fsdecode(name).rpartition("/")[2].rpartition(".")[0]
        if stem not in labels:
            raise DataError(f"{where.display(name)}: no label for it; remove it or get the list of labels again")
        found.append(numbers.get(labels[stem], -1))
    numbered = np.array(found, dtype=np.int64)
    _check_classes(printable(where.path), {classes[number] for number in set(found) - {-1}}, classes)
    chosen = np.flatnonzero(numbered >= 0)
    return FilePart(numbered[chosen], references.select(chosen), normalizer(options))


SOURCE = Source(
    "imagenet",
    (),
    labels="10%",
    val="1%",
    shard_size=1000,
    load=load,
    files=("train/ and val/", f"{TRAIN}, {VAL} and the labels of the latter"),
    image_format="original",
    takes=frozenset({"checksum", "label_list", "resize", "quality"}),
    samples_per_worker=200,
    downloads=False,
)
