"""The listed images of a source by split, and their conversion to a raw set."""

from dataclasses import dataclass, replace

import numpy as np

from data_prep.images.normalize import Normalizer
from data_prep.sources.base import LoadOptions, RawSet
from data_prep.sources.image_files.label_list import read_label_list
from data_prep.sources.image_files.listing import listing_digest
from data_prep.sources.image_files.reader import FilePart
from data_prep.sources.image_files.references import References
from data_prep.splits.assign import take
from data_prep.splits.label_counts import LISTED, check_numbers, per_class, read_labels
from data_prep.system.errors import DataError, UsageError
from data_prep.system.types import Labels

DEFAULT_TEST = "20%"
TEST_SEED = 0
"""Never the user's seed, so accuracies of all seeds are measured on the same images."""


@dataclass(frozen=True)
class ImageTree:
    """The images of a source by split; ``val``, ``test`` and ``unlabeled`` are None if the source has none.

    The labels of ``train``, ``val`` and ``test`` are indices into ``classes``; those of ``unlabeled`` are -1.
    """

    classes: tuple[str, ...]
    train: FilePart
    val: FilePart | None = None
    test: FilePart | None = None
    unlabeled: FilePart | None = None

    def parts(self) -> dict[str, FilePart]:
        """Return the parts that exist; those of the training set come first, in the order of its keys."""
        parts = {"train": self.train, "val": self.val, "unlabeled": self.unlabeled, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}


def normalizer(options: LoadOptions) -> Normalizer:
    """Return the conversion of image files that the options ask for."""
    return Normalizer(options.image_format, options.resize, options.quality)


def unlabeled_part(references: References, options: LoadOptions) -> FilePart:
    """Return images of unknown class."""
    return FilePart(np.full(len(references), -1, dtype=np.int64), references, normalizer(options))


def to_raw_set(tree: ImageTree, options: LoadOptions) -> RawSet:
    """Join the training images, the validation images and those without labels, in this order.

    If the source has no test images, they are taken from the training images that no list labels. Raises UsageError or
    DataError.
    """
    listed = read_label_list(options.label_list, tree.parts(), tree.classes) if options.label_list else None
    if tree.test and options.test is not None:
        raise UsageError(f"--test {options.test}: {options.path} has test images of its own; leave it out")
    divided, labeled = (tree, listed) if tree.test else _take_test(tree, options.test or DEFAULT_TEST, listed)
    parts = divided.parts()
    test = parts["test"]
    train = FilePart.join([part for name, part in parts.items() if name != "test"])
    first = len(divided.train.labels)
    val = None if divided.val is None else np.arange(first, first + len(divided.val.labels), dtype=np.int64)
    return RawSet(tree.classes, train, test, {"listing": listing_digest(tree.parts())}, val, labeled)


def _take_test(tree: ImageTree, wanted: str, listed: Labels | None) -> tuple[ImageTree, Labels | None]:
    """Move images of every class that are not in the label list to the test split; every class keeps some.

    Return the new tree, and the indices into its training images of those in the list.
    """
    labels = tree.train.labels
    numbers = _test_numbers(wanted, labels, tree.classes)
    everything = np.arange(len(labels), dtype=np.int64)
    free = everything if listed is None else np.setdiff1d(everything, listed)
    _check_enough_unlisted(wanted, numbers, labels[free], tree.classes)
    chosen = take(labels, free, numbers, TEST_SEED, "tree-test")
    rest = np.setdiff1d(everything, chosen)
    divided = replace(tree, train=tree.train.select(rest), test=tree.train.select(chosen))
    return divided, None if listed is None else np.searchsorted(rest, listed).astype(np.int64)


def _check_enough_unlisted(wanted: str, numbers: tuple[int, ...], labels: Labels, classes: tuple[str, ...]) -> None:
    """Check that every class has enough images for the test split that are not in the label list. Raises DataError.

    ``labels`` are the classes of the images that are not in the list, int64 [N].
    """
    available = np.bincount(labels, minlength=len(classes)).tolist()
    for name, wants, has in zip(classes, numbers, available, strict=True):
        if wants > has:
            raise DataError(
                f"--test {wanted} takes {wants} images of class {name!r}, of which only {has} are not in --label-list; "
                "list fewer, ask for fewer, or put test images into test/"
            )


def _test_numbers(wanted: str, labels: Labels, classes: tuple[str, ...]) -> tuple[int, ...]:
    try:
        number = read_labels(int(wanted) if wanted.isdecimal() else wanted)
    except ValueError as error:
        raise UsageError(f"--test: {error}") from None
    if number == LISTED:
        raise UsageError("--test list: there is no list of test images; give a number or a part, such as 20%")
    check_numbers("--test", number, len(classes), minimum=1)
    available = np.bincount(labels, minlength=len(classes)).tolist()
    numbers = per_class(number, available)
    for name, wants, has in zip(classes, numbers, available, strict=True):
        if wants >= has:
            raise DataError(
                f"--test {wanted} takes {wants} of the {has} images of class {name!r} and leaves none to train on; "
                "add images, ask for fewer, or put test images into test/"
            )
    return numbers
