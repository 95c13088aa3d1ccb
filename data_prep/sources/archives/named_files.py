"""Read named files from a folder or a tar archive into memory; no archive is unpacked to disk."""

import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from data_prep.sources.archives.nested_tar import check_member
from data_prep.storage.download import check_md5
from data_prep.system.errors import DataError

MAX_MEMBER_BYTES = 1 << 30
"""The largest published member has 155 MB; one with more than this is a decompression bomb."""


def read_files(
    source: Path, inner: str, archive: str, wanted: Mapping[str, str], *, checksum: bool
) -> dict[str, bytes]:
    """Return the content of the wanted files by name.

    Args:
        source: a tar, or a folder that holds the files, the folder ``inner``, or the tar ``archive``.
        inner: the name of the folder in the published archive.
        archive: the name of the published archive.
        wanted: the published md5 of each file by its name.
        checksum: whether the files must be the published ones.

    Raises DataError with the name of a file that is missing, unsafe or not the published one.
    """
    found = dict(_from_folder(source, inner, archive, wanted) if source.is_dir() else _from_tar(source, inner, wanted))
    if missing := [name for name in wanted if name not in found]:
        raise DataError(f"{source}: {', '.join(missing)} missing; --source takes the folder {inner} or {archive}")
    for name, md5 in wanted.items():
        if checksum:
            check_md5(io.BytesIO(found[name]), md5, f"{source}: {name}")
    return found


def _from_folder(source: Path, inner: str, archive: str, wanted: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    folders = [folder for folder in (source, source / inner) if any((folder / name).is_file() for name in wanted)]
    if not folders and (source / archive).is_file():
        yield from _from_tar(source / archive, inner, wanted)
    for folder in folders[:1]:
        for path in (folder / name for name in wanted):
            if path.is_file():
                yield path.name, path.read_bytes()


def _from_tar(source: Path, inner: str, wanted: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(source, "r:*") as archive:
            for member in archive:
                check_member(source, member, MAX_MEMBER_BYTES)
                name = PurePosixPath(member.name)
                chosen = name.name in wanted and name.parent.name in ("", inner)
                if chosen and (file := archive.extractfile(member)):
                    yield name.name, file.read()
    except FileNotFoundError:
        raise DataError(f"--source {source} does not exist") from None
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{source}: not a readable tar archive ({reason}); get it again") from None
