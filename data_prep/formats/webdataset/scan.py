"""Read shards: USTAR tars whose samples are an image and a label, under a whitelist of names and types.

A tar cut at a member boundary reads as a shorter tar without any error, so the sample count of the manifest is checked
at the end. No member is ever unpickled or extracted to disk.
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
LABEL_EXTENSION = {"labeled": "cls", "val": "cls", "test": "cls", "unlabeled": "truth"}
REMEDY = "prepare the data set again"


@dataclass(frozen=True)
class Fault:
    """One piece of damage in a shard; ``key`` is None where it concerns the whole shard."""

    shard: str
    key: int | None
    what: str

    def __str__(self) -> str:
        """One line: shard, sample key, what."""
        return f"{self.shard}: {'' if self.key is None else f'sample {self.key:08d}: '}{self.what}"


@dataclass(frozen=True)
class _Member:
    key: int
    extension: str
    payload: bytes


def read_shard(path: Path, shard: Shard) -> Iterator[Sample]:
    """Yield the samples in order. Raises DataError at the first damage, at the end if samples are missing."""
    for item in scan_shard(load_bytes(path), shard):
        if isinstance(item, Fault):
            raise DataError(f"{path.parent}/{item}; {REMEDY}")
        yield item


def load_bytes(path: Path) -> bytes:
    """The whole file. Raises DataError if it is missing or unreadable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {REMEDY}") from None


def scan_shard(content: bytes, shard: Shard) -> Iterator[Sample | Fault]:
    """Yield every whole sample and every fault of a shard's bytes, in order; never raises on damage."""
    image: _Member | None = None
    samples = 0
    for item in _members(content, shard):
        if isinstance(item, Fault):
            yield item
        elif item.extension in EXTENSIONS:
            if image:
                yield Fault(shard.name, image.key, "image without a label")
            image = item
        else:
            found = _pair(image, item, shard)
            samples += isinstance(found, Sample)
            image = None
            yield found
    if image:
        yield Fault(shard.name, image.key, "image without a label")
    if samples != shard.samples:
        yield Fault(shard.name, None, f"{samples} whole samples, the manifest says {shard.samples}")


def _members(content: bytes, shard: Shard) -> Iterator[_Member | Fault]:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for info in archive:
                yield _read_member(archive, info, shard)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        yield Fault(shard.name, None, f"broken tar: {error}")


def _read_member(archive: tarfile.TarFile, info: tarfile.TarInfo, shard: Shard) -> _Member | Fault:
    file = archive.extractfile(info) if info.isreg() and not info.issparse() else None
    if file is None:
        return Fault(shard.name, None, f"member {info.name!r} is not a regular file")
    match = MEMBER_NAME.fullmatch(info.name)
    if match is None or match[2] not in EXTENSIONS | {LABEL_EXTENSION[shard.split]}:
        return Fault(shard.name, None, f"member {info.name!r} does not belong into a {shard.split} shard")
    return _Member(int(match[1]), match[2], file.read())


def _pair(image: _Member | None, label: _Member, shard: Shard) -> Sample | Fault:
    if image is None or image.key != label.key:
        return Fault(shard.name, label.key, "label without its image before it")
    if LABEL_TEXT.fullmatch(label.payload) is None and (label.extension, label.payload) != ("truth", UNKNOWN):
        return Fault(shard.name, label.key, f"label {label.payload[:20]!r} is not an ASCII integer")
    return Sample(image.key, image.extension, image.payload, int(label.payload))
