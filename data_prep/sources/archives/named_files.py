"""Read named files out of a folder or a tar archive, in memory; nothing of an archive ever lands on disk."""

import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from data_prep.sources.archives.safety import check_member
from data_prep.storage.download import check_md5
from data_prep.system.errors import DataError

MAX_MEMBER_BYTES = 1 << 30  # the largest published member is 155 MB: more than this is a decompression bomb


def read_files(
    source: Path, inner: str, archive: str, wanted: Mapping[str, str], *, checksum: bool
) -> dict[str, bytes]:
    """Read the ``wanted`` names (to their published md5) from a folder, its ``inner`` folder, or a tar.

    ``archive`` is the tar's name to look for inside a folder. Raises DataError naming the file that is missing, unsafe
    or, with ``checksum``, not the published one.
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
