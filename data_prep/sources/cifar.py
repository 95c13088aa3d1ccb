"""CIFAR-10 and CIFAR-100 from the official Python batches (Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html).

The URLs and md5 are those that torchvision states.
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from data_prep.images.codecs import Pixels
from data_prep.sources.archives.named_files import read_files
from data_prep.sources.archives.unpickle import unpickle_arrays
from data_prep.sources.base import ArrayPart, LoadOptions, RawSet, Source
from data_prep.storage.download import PublishedFile, fetch
from data_prep.system.errors import DataError
from data_prep.system.types import Labels

TEN_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HUNDRED_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
HUNDRED_CLASSES = tuple(HUNDRED_NAMES.split())


@dataclass(frozen=True)
class CifarVariant:
    """The files of CIFAR-10 or CIFAR-100."""

    archive: PublishedFile
    folder: str
    """The folder in the archive."""
    classes: tuple[str, ...]
    labels_key: str
    """The key of the labels in each file."""
    train: dict[str, str]
    """The md5 of each file by its name, in the order of reading."""
    test: dict[str, str]


CIFAR10_FILES = CifarVariant(
    archive=PublishedFile(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
    ),
    folder="cifar-10-batches-py",
    classes=TEN_CLASSES,
    labels_key="labels",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
)
CIFAR100_FILES = CifarVariant(
    archive=PublishedFile(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"
    ),
    folder="cifar-100-python",
    classes=HUNDRED_CLASSES,
    labels_key="fine_labels",
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
)


def load(variant: CifarVariant, options: LoadOptions) -> RawSet:
    """Load both sets, uint8 [N, 32, 32, 3]. Raises DataError with the file's name."""
    path = options.path or fetch(variant.archive)
    wanted = variant.train | variant.test
    files = read_files(path, variant.folder, variant.archive.name, wanted, checksum=options.checksum)
    checksums = {name: hashlib.sha256(files[name]).hexdigest() for name in wanted}
    # pop frees the bytes of a file as soon as it is decoded.
    train_batches = [_decode(files.pop(name), name, variant.labels_key) for name in variant.train]
    test_batches = [_decode(files.pop(name), name, variant.labels_key) for name in variant.test]
    train, test = (ArrayPart(*_join(batches), options.image_format) for batches in (train_batches, test_batches))
    return RawSet(variant.classes, train, test, checksums)


def _decode(content: bytes, name: str, labels_key: str) -> tuple[Pixels, Labels]:
    batch = unpickle_arrays(content, name)
    pixels: Any = batch.get("data")
    labels: Any = batch.get(labels_key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise DataError(f"{name}: 'data' is not a uint8 array of shape [N, 3072]")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise DataError(f"{name}: {labels_key!r} is not a list of integers")
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(labels, dtype=np.int64)


def _join(batches: list[tuple[Pixels, Labels]]) -> tuple[Pixels, Labels]:
    images, labels = zip(*batches, strict=True)
    return np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels)


def _source(name: str, labels: int, val: int, variant: CifarVariant) -> Source:
    files = (variant.folder, variant.archive.name)
    return Source(name, variant.classes, labels, val, shard_size=1000, load=partial(load, variant), files=files)


CIFAR10 = _source("cifar10", 4000, 1000, CIFAR10_FILES)
CIFAR100 = _source("cifar100", 10000, 2000, CIFAR100_FILES)
