"""The classes of ImageNet's validation images, which are in one folder, from any of the published lists."""

import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from data_prep.sources.archives.named_files import read_files
from data_prep.storage.download import check_md5
from data_prep.system.errors import DataError

SYNSET = re.compile(r"n\d{8}", re.ASCII)
TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
DEVKIT, DEVKIT_MD5 = "ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf"  # as torchvision states it
CLASSES = 1000
REMEDY = "get the file again"

Reader = Callable[[Path, tuple[str, ...], bool], dict[str, str]]
"""A function that reads one kind of list and returns the WordNet ids by image name without suffix.

Its arguments are the path of the list, the sorted classes, and whether to compare the published md5."""


def is_synset(name: str) -> bool:
    """Return whether a name is the WordNet id of a noun, such as n01440764."""
    return SYNSET.fullmatch(name) is not None


def find_labels(folders: Iterable[Path], classes: tuple[str, ...], *, checksum: bool) -> dict[str, str]:
    """Return the WordNet id of every validation image by its name without suffix, from the first list in the folders.

    Raises DataError if there is no list, or if it is damaged.
    """
    for folder in (places := tuple(dict.fromkeys(folders))):
        for name, read in READERS.items():
            if (folder / name).is_file():
                return read(folder / name, classes, checksum)
    what = "the images of val are not in class folders and need labels"
    raise DataError(f"{places[0]}: {what}; put one of these there: {', '.join(READERS)}")


def _read_solution(path: Path, _classes: tuple[str, ...], _checksum: bool) -> dict[str, str]:
    """Read Kaggle's list: ``ImageId,PredictionString``, whose first word is the class."""
    labels: dict[str, str] = {}
    for number, line in enumerate(_lines(path)[1:], 2):
        name, _, boxes = line.partition(",")
        if name:
            _add(labels, name, boxes.partition(" ")[0].strip(), f"{path} line {number}")
    return labels


def _read_list(path: Path, classes: tuple[str, ...], _checksum: bool) -> dict[str, str]:
    """Read ``NAME.JPEG n01440764``, or Caffe's ``NAME.JPEG 0`` with indices into the sorted list of all classes."""
    labels: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        where = f"{path} line {number}"
        name, _, label = line.strip().partition(" ")
        if label.isdecimal():
            if len(classes) != CLASSES:
                raise DataError(f"{where}: number {label} needs all {CLASSES} classes in train/; write the WordNet id")
            label = classes[int(label)] if int(label) < CLASSES else ""
        if name:
            _add(labels, name.rpartition("/")[2].partition(".")[0], label, where)
    return labels


def _read_truth(path: Path, _classes: tuple[str, ...], _checksum: bool) -> dict[str, str]:
    """Read the devkit's list of numbers, with its table of classes beside it."""
    table = path.with_name(META)
    try:
        return _join(path, path.read_bytes(), table.read_bytes())
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}; put {META} of the devkit beside {TRUTH}") from None


def _read_devkit(path: Path, _classes: tuple[str, ...], checksum: bool) -> dict[str, str]:
    if checksum:
        with path.open("rb") as file:
            check_md5(file, DEVKIT_MD5, path)
    files = read_files(path, "data", DEVKIT, {TRUTH: "", META: ""}, checksum=False)
    return _join(path, files[TRUTH], files[META])


def _join(path: Path, truth: bytes, table: bytes) -> dict[str, str]:
    """Join the list, whose line i is the number of the class of image i, with the table; both count from 1."""
    synsets = _synsets(path, table)
    labels: dict[str, str] = {}
    for number, word in enumerate(truth.split(), 1):
        synset = synsets.get(int(word), "") if word.isdigit() else ""
        _add(labels, f"ILSVRC2012_val_{number:08d}", synset, f"{path}: number {number} of {TRUTH}")
    return labels


def _synsets(path: Path, table: bytes) -> dict[int, str]:
    from scipy.io import loadmat  # noqa: PLC0415

    try:
        rows = loadmat(io.BytesIO(table), variable_names=["synsets"], squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"{path}: {META} is not the devkit's ({type(error).__name__}: {error}); {REMEDY}") from None


def _add(labels: dict[str, str], name: str, synset: str, where: str) -> None:
    if not is_synset(synset):
        raise DataError(f"{where}: no class such as n01440764 for {name!r}; {REMEDY}")
    if name in labels:
        raise DataError(f"{where}: {name!r} is there twice; {REMEDY}")
    labels[name] = synset


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable text ({error}); {REMEDY}") from None


READERS: dict[str, Reader] = {
    "LOC_val_solution.csv": _read_solution,
    "val.txt": _read_list,
    f"ILSVRC2012_devkit_t12/data/{TRUTH}": _read_truth,
    TRUTH: _read_truth,
    DEVKIT: _read_devkit,
}
