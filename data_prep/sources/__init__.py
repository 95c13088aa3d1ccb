"""The data sets that can be prepared, and their registry.

To add one, write a file in this folder that defines a :class:`Source`, and add the source to :data:`SOURCES` below.
This folder imports `images`, `splits`, `storage` and `system`. `prepare` and the command line import it, and the
WebDataset writer imports the interface of its images, :class:`~data_prep.sources.base.ImagePart`.
"""

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
    """Return the source with this name. Raises UsageError, which lists the known names."""
    if name not in SOURCES:
        raise UsageError(f"unknown data set {name!r}; known are {', '.join(SOURCES)}")
    return SOURCES[name]
