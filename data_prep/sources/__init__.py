"""The registry of data sets: a new one is a file beside these and a line here."""

from data_prep.sources import cifar, digits, moons, stl10, svhn
from data_prep.sources.base import ArrayPart, LoadOptions, RawSet, Source, check_raw
from data_prep.sources.image_files import folder
from data_prep.sources.imagenet import source as imagenet
from data_prep.system.errors import UsageError

__all__ = ["SOURCES", "ArrayPart", "LoadOptions", "RawSet", "Source", "check_raw", "find_source"]

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        digits.SOURCE,
        cifar.CIFAR10,
        cifar.CIFAR100,
        svhn.SOURCE,
        moons.SOURCE,
        stl10.SOURCE,
        imagenet.SOURCE,
        folder.SOURCE,
    )
}


def find_source(name: str) -> Source:
    """The source of that name. Raises UsageError naming the known ones."""
    if name not in SOURCES:
        raise UsageError(f"unknown data set {name!r}; known are {', '.join(SOURCES)}")
    return SOURCES[name]
