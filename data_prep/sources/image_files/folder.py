"""The user's own image files: one folder for each class, with or without splits, or a CSV table of the files."""

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from data_prep.images.file_names import KINDS
from data_prep.sources.base import OPTIONAL, LoadOptions, RawSet, Source
from data_prep.sources.image_files.csv_table import Row, read_table
from data_prep.sources.image_files.image_tree import DEFAULT_TEST, ImageTree, normalizer, to_raw_set, unlabeled_part
from data_prep.sources.image_files.listing import (
    class_name,
    count_other_files,
    folders_in,
    images_below,
    images_in,
    list_images,
    require_folder,
    sorted_references,
)
from data_prep.sources.image_files.reader import FilePart
from data_prep.sources.image_files.references import References, Root, printable
from data_prep.system.errors import DataError, UsageError

VAL = (b"val", b"valid", b"validation")
UNLABELED = b"unlabeled"
SPLITS = {b"train", *VAL, b"test", UNLABELED}
WANTED = "put the images of each class into a folder of its own, or name a table with --csv"


def load(options: LoadOptions) -> RawSet:
    """List the images without opening them. Raises UsageError or DataError."""
    source = require_folder("--source", options.path)
    root = Root(os.fsencode(source))
    tree = from_table(root, options, options.csv) if options.csv else from_folders(root, options)
    if len(tree.classes) < 2:
        raise DataError(f"{source}: only one class, {', '.join(tree.classes)}; a classifier needs two or more")
    if options.unlabeled is not None:
        tree = _with_unlabeled(tree, options, source, require_folder("--unlabeled", options.unlabeled))
    return replace(to_raw_set(tree, options), remarks=lambda: _remarks(root, tree, options))


def _remarks(root: Root, tree: ImageTree, options: LoadOptions) -> Iterator[str]:
    """Yield one line on test images that are taken from the training images, and one on files that are not read."""
    if tree.test is None and options.test is None:
        yield (
            f"{printable(root.path)} has no test images: {DEFAULT_TEST} of the images of every class are set apart to "
            "test on; take another part with --test, or give test images in test/ or in the column split of --csv"
        )
    if options.csv is None and (others := count_other_files(root)):
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
        yield (
            f"{printable(root.path)}: files that are not read, by suffix: {kinds}; convert those that are images "
            f"to one of {KINDS}"
        )


def from_folders(root: Root, options: LoadOptions) -> ImageTree:
    """List the images of a folder for each class, such as ``cat/*.jpg``.

    These folders are in the source itself or in its folders ``train/``, ``val/`` and ``test/``. A folder ``unlabeled/``
    beside either holds images without labels.
    """
    found = _folders(root, b"", options)
    inner = b"train/" if b"train" in found and folders_in(root.below(b"train")) else b""
    _check_layout(root, found, inner)
    top = _folders(root, inner, options)
    names = [name for name in top if name != UNLABELED]
    if not names:
        raise DataError(f"{printable(root.path)}: no folder of images; {WANTED}")
    tree = ImageTree(tuple(map(class_name, names)), list_classes(root, inner, names, options))
    parents = {b"": found, inner: top}
    unlabeled = [
        list_images(root, parent + UNLABELED + b"/") for parent, names in parents.items() if UNLABELED in names
    ]
    if unlabeled:
        tree = replace(tree, unlabeled=unlabeled_part(References.join(unlabeled), options))
    return _with_splits(tree, root, options, found) if inner else tree


def _folders(root: Root, inner: bytes, options: LoadOptions) -> list[bytes]:
    """Return the folders in ``inner`` except for the one that --unlabeled names."""
    other = os.fsencode(options.unlabeled.resolve()) if options.unlabeled else None
    return [name for name in folders_in(root.below(inner)) if os.path.realpath(root.below(inner + name)) != other]


def list_classes(root: Root, inner: bytes, names: list[bytes], options: LoadOptions) -> FilePart:
    """List the images of the folders ``names`` in ``inner``, one for each class, sorted by the bytes of their names.

    Raises DataError on a folder without images, and on images beside the folders.
    """
    if stray := images_in(root.below(inner)):
        raise DataError(f"{root.display(inner + stray[0])}: an image beside the classes; {WANTED}")
    numbers = {name: number for number, name in enumerate(names)}
    return FilePart.join(
        [_list_class(root, inner, numbers[name], name, options) for name in sorted(names, key=_as_prefix)]
    )


def _list_class(root: Root, inner: bytes, label: int, name: bytes, options: LoadOptions) -> FilePart:
    references = list_images(root, inner + name + b"/")
    if not len(references):
        folder = root.display(inner + name)
        raise DataError(f"{folder}: a class without images ({KINDS}); remove the folder or fill it")
    return FilePart(np.full(len(references), label, dtype=np.int64), references, normalizer(options))


def _as_prefix(name: bytes) -> bytes:
    """Return the key by which folders are sorted like the paths of their files."""
    return name + b"/"


def _check_layout(root: Root, found: list[bytes], inner: bytes) -> None:
    """Raise DataError on classes beside ``train/``, and on ``test/`` with classes without such a ``train/``."""
    others = [name for name in found if name not in SPLITS]
    for name in others if inner else ():
        if next(images_below(root, name + b"/"), None):
            raise DataError(
                f"{printable(root.path)}: {printable(name)}/ with images beside train/ with classes; "
                "move it into train/ or out of the source"
            )
    for name in () if inner else (name for name in found if name in SPLITS - {UNLABELED}):
        if folders_in(root.below(name)):
            raise DataError(
                f"{printable(root.path)}: {name.decode()}/ with folders, but no train/ with classes; "
                "put the training images into train/CLASS/"
            )


def _with_splits(tree: ImageTree, root: Root, options: LoadOptions, found: list[bytes]) -> ImageTree:
    """Add the validation and test images beside ``train/``."""
    val = [name for name in VAL if name in found]
    if len(val) > 1:
        both = " and ".join(name.decode() for name in val)
        raise DataError(f"{printable(root.path)}: {both} are both validation images; keep one of them")
    test = [b"test"] if b"test" in found else []
    splits = [_list_split(tree, root, options, names[0]) if names else None for names in (val, test)]
    return replace(tree, val=splits[0], test=splits[1])


def _list_split(tree: ImageTree, root: Root, options: LoadOptions, split: bytes) -> FilePart:
    names = folders_in(root.below(split))
    differing = sorted(set(tree.classes) ^ set(map(class_name, names)))
    if differing:
        lacks = split.decode() if differing[0] in tree.classes else "train"
        raise DataError(
            f"{root.display(split)}: not the classes of train/: {lacks}/ has no {differing[0]!r}; give both the same"
        )
    return list_classes(root, split + b"/", names, options)


def _with_unlabeled(tree: ImageTree, options: LoadOptions, source: Path, folder: Path) -> ImageTree:
    """Add the images of another folder; if it is inside the source, only those that are not listed yet."""
    inside, outer = folder.resolve(), source.resolve()
    if outer != inside and outer.is_relative_to(inside):
        raise UsageError(f"--unlabeled {folder} holds --source {source}; name a folder beside or inside it")
    if inside.is_relative_to(outer):
        references = _not_listed(tree, Root(os.fsencode(source)), inside.relative_to(outer))
    else:
        references = list_images(Root(os.fsencode(folder), f"{printable(os.fsencode(inside.name))}/"))
    if not len(references):
        raise DataError(f"--unlabeled {folder}: no image ({KINDS}) that is not listed already; leave it out")
    part = unlabeled_part(references, options)
    return replace(tree, unlabeled=FilePart.join([tree.unlabeled, part]) if tree.unlabeled else part)


def _not_listed(tree: ImageTree, root: Root, inner: Path) -> References:
    listed = {name for part in tree.parts().values() for name in part.references.names}
    prefix = b"" if inner == Path() else os.fsencode(inner) + b"/"
    return sorted_references(root, [item for item in images_below(root, prefix) if item[0] not in listed])


def from_table(root: Root, options: LoadOptions, path: Path) -> ImageTree:
    """List the images in a table; each split is sorted by the bytes of the names."""
    rows = read_table(path)
    classes = tuple(sorted({row.label for row in rows.values()} - {""}))
    if not classes:
        raise DataError(f"{path}: no image with a label; give every class some")
    for name in classes:
        class_name(name.encode())
    numbers = {"": -1} | {name: number for number, name in enumerate(classes)}
    order = sorted(rows, key=lambda name: (rows[name].split, name))
    parts = {
        split: _list_rows(root, options, path, {name: rows[name] for name in names}, numbers)
        for split, names in groupby(order, key=lambda name: rows[name].split)
    }
    if "train" not in parts:
        raise DataError(f"{path}: no training image with a label; the split of some must be train")
    return ImageTree(classes, **parts)


def _list_rows(
    root: Root, options: LoadOptions, path: Path, rows: dict[bytes, Row], numbers: dict[str, int]
) -> FilePart:
    found = [(name, _size(root, name, f"{path} line {row.line}")) for name, row in rows.items()]
    labels = np.array([numbers[row.label] for row in rows.values()], dtype=np.int64)
    return FilePart(labels, sorted_references(root, found), normalizer(options))


def _size(root: Root, name: bytes, where: str) -> int:
    try:
        return os.stat(root.below(name)).st_size  # noqa: PTH116 - names are bytes
    except OSError as error:
        raise DataError(f"{where}: {root.display(name)}: {error.strerror}; fix the path or remove the line") from None


SOURCE = Source(
    "folder",
    (),
    labels="10%",
    val="10%",
    shard_size=1000,
    load=load,
    files=("a folder of images for every class", "train/ with such folders", "the files that --csv lists"),
    image_format="original",
    takes=OPTIONAL,
    samples_per_worker=200,
    named_by_files=True,
    downloads=False,
)
