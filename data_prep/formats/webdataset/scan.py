"""Read whole shards from the first byte to the last, without their index; :func:`scan_shard` goes on after damage.

The check and the preview of a set read this way. To read single samples by the index, use ``reader.py``. Shards are
USTAR archives of images and labels, in which only known names and types are accepted.

A tar that is cut at the edge of a member reads as a shorter tar without any error, so the number of samples is compared
with the manifest at the end. No member is unpickled or extracted to disk.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.dataset.manifest import Shard
from data_prep.formats.sample import Sample
from data_prep.images.codecs import EXTENSIONS
from data_prep.system.errors import DataError

MEMBER_NAME = re.compile(r"(\d{8,12})\.([a-z]+)", re.ASCII)
LABEL_TEXT = re.compile(rb"\d{1,6}")
UNKNOWN = b"-1"
"""The label of an unlabeled image whose true class is not known."""
LABEL_EXTENSION = {"labeled": "cls", "val": "cls", "test": "cls", "unlabeled": "truth"}
"""File extension of the labels of each split."""
REMEDY = "prepare the data set again"


@dataclass(frozen=True)
class Fault:
    """One piece of damage in a shard."""

    shard: str
    """Name of the shard."""
    key: int | None
    """Key of the damaged sample; None if the damage concerns the whole shard."""
    what: str
    """Description of the damage."""

    def __str__(self) -> str:
        """Return one line: shard, sample, description."""
        return f"{self.shard}: {'' if self.key is None else f'sample {self.key:08d}: '}{self.what}"


@dataclass(frozen=True)
class _MemberContent:
    key: int
    extension: str
    payload: bytes


def read_shard(path: Path, shard: Shard) -> Iterator[Sample]:
    """Yield the samples in order. Raises DataError at the first damage, or at the end if samples are missing."""
    for item in scan_shard(load_bytes(path), shard):
        if isinstance(item, Fault):
            raise DataError(f"{path.parent}/{item}; {REMEDY}")
        yield item


def load_bytes(path: Path) -> bytes:
    """Return the whole file. Raises DataError if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {REMEDY}") from None


def scan_shard(content: bytes, shard: Shard) -> Iterator[Sample | Fault]:
    """Yield every intact sample and every fault of a shard's bytes, in order; damage raises no error."""
    image: _MemberContent | None = None
    samples = 0
    for item in _members(content, shard):
        if isinstance(item, Fault):
            yield item
        elif item.extension in EXTENSIONS:
            if image:
                yield Fault(shard.name, image.key, "image without a label")
            image = item
        else:
            found = _join(image, item, shard)
            samples += isinstance(found, Sample)
            image = None
            yield found
    if image:
        yield Fault(shard.name, image.key, "image without a label")
    if samples != shard.samples:
        yield Fault(shard.name, None, f"{samples} whole samples, the manifest says {shard.samples}")


def _members(content: bytes, shard: Shard) -> Iterator[_MemberContent | Fault]:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for info in archive:
                yield _read_member(archive, info, shard)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        yield Fault(shard.name, None, f"broken tar: {error}")


def _read_member(archive: tarfile.TarFile, info: tarfile.TarInfo, shard: Shard) -> _MemberContent | Fault:
    file = archive.extractfile(info) if info.isreg() and not info.issparse() else None
    if file is None:
        return Fault(shard.name, None, f"member {info.name!r} is not a regular file")
    match = MEMBER_NAME.fullmatch(info.name)
    if match is None or match[2] not in EXTENSIONS | {LABEL_EXTENSION[shard.split]}:
        return Fault(shard.name, None, f"member {info.name!r} does not belong in a {shard.split} shard")
    return _MemberContent(int(match[1]), match[2], file.read())


def _join(image: _MemberContent | None, label: _MemberContent, shard: Shard) -> Sample | Fault:
    if image is None or image.key != label.key:
        return Fault(shard.name, label.key, "label without its image before it")
    if LABEL_TEXT.fullmatch(label.payload) is None and (label.extension, label.payload) != ("truth", UNKNOWN):
        return Fault(shard.name, label.key, f"label {label.payload[:20]!r} is not an ASCII integer")
    return Sample(image.key, image.extension, image.payload, int(label.payload))
