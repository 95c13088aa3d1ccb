"""Find image files with the same bytes; only those of the same size are read."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress

from data_prep.sources.image_files.reader import Reader
from data_prep.sources.image_files.references import References
from data_prep.system.errors import DataError


def same_sizes(references: References) -> list[list[int]]:
    """Return the indices of images with the same size in bytes, grouped, without those that are alone."""
    sizes = references.sizes.tolist()
    return _group(range(len(sizes)), sizes.__getitem__)


def same_bytes(references: References, candidates: Iterable[list[int]]) -> list[list[int]]:
    """Return the indices of images with the same bytes, grouped, among the groups of :func:`same_sizes`.

    Images that cannot be read are left out.
    """
    with Reader(references) as reader:

        def digest(index: int) -> Hashable:
            with suppress(DataError):
                return hashlib.sha256(reader.read(index)).digest()
            return index

        return [group for candidate in candidates for group in _group(candidate, digest)]


def _group(indices: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index in indices:
        groups[key(index)].append(index)
    return [group for group in groups.values() if len(group) > 1]
