"""List folders of images in an order that does not depend on the file system, without opening an image."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from data_prep.images.file_names import is_image
from data_prep.sources.image_files.reader import FilePart
from data_prep.sources.image_files.references import References, Root, printable
from data_prep.system.errors import DataError, UsageError


def folders_in(parent: bytes) -> list[bytes]:
    """Return the sorted names of the folders in a folder. Raises DataError if it cannot be read."""
    return sorted(entry.name for entry in _visible(parent) if _is_folder(entry))


def images_in(parent: bytes) -> list[bytes]:
    """Return the sorted names of the images directly in a folder. Raises DataError if it cannot be read."""
    return sorted(entry.name for entry in _visible(parent) if is_image(entry.name) and not _is_folder(entry))


def images_below(root: Root, inner: bytes = b"") -> Iterator[tuple[bytes, int]]:
    """Yield the name below ``root`` and the size in bytes of every image below ``root/inner``, in no defined order.

    ``inner`` ends with a slash unless it is empty. Raises DataError on a folder that cannot be read or is a link.
    """
    for folder, entry in _files_below(root, inner):
        if is_image(entry.name):
            yield folder + entry.name, _size(entry)


def count_other_files(root: Root) -> Counter[str]:
    """Count the files that are not read because their names do not end like those of images, by suffix."""
    names = (entry.name for _, entry in _files_below(root, b"") if not is_image(entry.name))
    return Counter(printable(os.path.splitext(name)[1].lower()) or "no suffix" for name in names)  # noqa: PTH122


def _files_below(root: Root, inner: bytes) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    """Yield the folder below ``root`` and the entry of every visible file below ``root/inner``."""
    folders = [inner]
    while folders:
        folder = folders.pop()
        for entry in _visible(root.below(folder)):
            if _is_folder(entry):
                folders.append(folder + entry.name + b"/")
            else:
                yield folder, entry


def list_images(root: Root, inner: bytes = b"") -> References:
    """Return all images below ``root/inner``, sorted by the bytes of their names."""
    return sorted_references(root, list(images_below(root, inner)))


def sorted_references(root: Root, found: list[tuple[bytes, int]]) -> References:
    """Return references to image files, given by their names and sizes in bytes, sorted by name."""
    found = sorted(found)
    return References.of(root, [name for name, _ in found], [size for _, size in found])


def class_name(name: bytes) -> str:
    """Return the name of a class as text. Raises DataError unless it is one line of UTF-8."""
    if printable(name) != name.decode("utf-8", "replace"):
        raise DataError(f"class '{printable(name)}': the name must be one line of UTF-8; rename it")
    return name.decode()


def listing_digest(parts: Mapping[str, FilePart]) -> str:
    """Return the sha256 over the name, the size and the label of every image, which identifies the source of a set."""
    digest = hashlib.sha256()
    for title, part in parts.items():
        digest.update(b"%s %d\n" % (title.encode(), len(part.labels)))
        columns = (part.references.names, part.references.sizes.tolist(), part.labels.tolist())
        for row in zip(*columns, strict=True):
            digest.update(b"%s\0%d\0%d\n" % row)
    return digest.hexdigest()


def require_folder(option: str, folder: Path | None) -> Path:
    """Return the folder that an option names. Raises UsageError without one, DataError if it is missing or a file."""
    if folder is None:
        raise UsageError(f"{option} is missing; name the folder with the images")
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{option} {folder} {what}; name the folder with the images")
    return folder


def _visible(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith(b"."))
    except OSError as error:
        raise DataError(
            f"{printable(folder)}: cannot be listed: {error.strerror}; grant permission to read it"
        ) from None


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    with suppress(OSError):  # a link to itself
        if entry.is_dir() and entry.is_symlink():
            raise DataError(f"{printable(entry.path)} is a link to a folder: refused; put the folder itself there")
        return entry.is_dir()
    return False


def _size(entry: os.DirEntry[bytes]) -> int:
    with suppress(OSError):  # a broken link, which is rejected when it is read
        return entry.stat().st_size
    return -1
