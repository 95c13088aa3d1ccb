"""SVHN's cropped digits from the official .mat files (Netzer et al., 2011, http://ufldl.stanford.edu/housenumbers).

The URLs and md5 are those that torchvision states. The files label the digit zero as 10; here it is 0.
"""

import hashlib
from pathlib import Path

import numpy as np

from data_prep.images.codecs import Pixels
from data_prep.sources.base import ArrayPart, LoadOptions, RawSet, Source
from data_prep.storage.download import PublishedFile, check_md5, fetch
from data_prep.system.errors import DataError
from data_prep.system.types import Labels

CLASSES = tuple("0123456789")
_SITE = "http://ufldl.stanford.edu/housenumbers"
TRAIN = PublishedFile(f"{_SITE}/train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373")
TEST = PublishedFile(f"{_SITE}/test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3")
EXTRA = PublishedFile(f"{_SITE}/extra_32x32.mat", "a93ce644f1a588dc4d68dda5feec44a7")


def load(options: LoadOptions) -> RawSet:
    """Load both sets, uint8 [N, 32, 32, 3]; the ``extra`` images follow the training images. Raises DataError."""
    remotes = (TRAIN, EXTRA, TEST) if options.extra else (TRAIN, TEST)
    checksums: dict[str, str] = {}
    parts: list[tuple[Pixels, Labels]] = []
    for remote in remotes:
        path = _locate(remote, options.path)
        checksums[remote.name] = _check(path, remote, checksum=options.checksum)
        parts.append(_read(path))
    *train_parts, test = parts
    images, labels = (np.concatenate(arrays) for arrays in zip(*train_parts, strict=True))
    train = ArrayPart(images, labels, options.image_format)
    return RawSet(CLASSES, train, ArrayPart(*test, options.image_format), checksums)


def _locate(remote: PublishedFile, source: Path | None) -> Path:
    if source is None:
        return fetch(remote)
    path = source / remote.name
    if not path.is_file():
        raise DataError(f"{path} is missing; --source takes the folder with SVHN's official .mat files")
    return path


def _check(path: Path, remote: PublishedFile, *, checksum: bool) -> str:
    with path.open("rb") as file:
        if checksum:
            check_md5(file, remote.md5, path)
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> tuple[Pixels, Labels]:
    from scipy.io import loadmat  # noqa: PLC0415

    try:
        content = loadmat(path, variable_names=["X", "y"])
        pixels, labels = content["X"], content["y"]
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"{path}: not a readable .mat file ({type(error).__name__}: {error})") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise DataError(f"{path}: X is {pixels.dtype} {pixels.shape}, not uint8 [32, 32, 3, N]")
    if not np.issubdtype(labels.dtype, np.number):
        raise DataError(f"{path}: y holds no numbers")
    numbers = labels.astype(np.int64).reshape(-1)
    return np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)), np.where(numbers == 10, 0, numbers)


SOURCE = Source(
    "svhn",
    CLASSES,
    labels=1000,
    val=1000,
    shard_size=2000,
    load=load,
    files=(TRAIN.name, TEST.name),
    has_extra=True,
)
