"""Folders that a run writes to: each is really written to, as a run does it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from data_prep.dataset.manifest import MANIFEST
from data_prep.system.atomic_files import locked, make_folder, write_durably
from data_prep.system.errors import UserError
from data_prep.system.paths import cache_folder
from pipeline.doctor.finding import Finding, Level, Request

CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "MPLCONFIGDIR")
LITTLE_ROOM = 1 << 30
FEW_INODES = 1000
TRIAL = bytes(1 << 16)
HOME = "set HOME to a writable folder, such as /tmp"


@dataclass(frozen=True)
class Place:
    """A folder, and what it means if it cannot be written to."""

    name: str
    path: Path
    remedy: str
    level: Level = Level.WARNING


def temporary_files(_: Request) -> Iterator[Finding]:
    name, remedy = "temporary files", "set TMPDIR to a writable folder"
    try:
        yield try_folder(Place(name, Path(tempfile.gettempdir()), remedy, Level.FAILURE))
    except FileNotFoundError as error:
        yield Finding(name, Level.FAILURE, error.strerror or str(error), remedy)


def home(_: Request) -> Iterator[Finding]:
    try:
        yield try_folder(Place("home", Path.home(), HOME))
    except RuntimeError:
        yield Finding("home", Level.WARNING, f"user {os.getuid()} has none, and HOME is not set", HOME)


def caches(_: Request) -> Iterator[Finding]:
    """Try the folders in which libraries keep what they compiled, where these are set."""
    for name in CACHES:
        if os.environ.get(name):
            yield try_folder(Place(name, Path(os.environ[name]), f"set {name} to a writable folder"))


def prepared_sets(request: Request) -> Iterator[Finding]:
    """Try where data sets are prepared; one that holds some may be read-only."""
    path = Path(os.environ.get("SMPL_DATA") or "data")
    served = request.data_dir is not None or any(path.glob(f"*/{MANIFEST}"))
    remedy = "set SMPL_DATA to a writable folder" + ("; the sets in it can be trained on" if served else "")
    yield try_folder(Place("prepared sets", path, remedy, Level.WARNING if served else Level.FAILURE))


def downloads(_: Request) -> Iterator[Finding]:
    remedy = "set SMPL_CACHE to a writable folder, or prepare from files by --source"
    try:
        yield try_folder(Place("downloads", cache_folder(), remedy))
    except RuntimeError:
        yield Finding("downloads", Level.WARNING, "neither SMPL_CACHE nor HOME is set", remedy)


def runs(request: Request) -> Iterator[Finding]:
    path = request.out or Path(os.environ.get("SMPL_RUNS") or "runs")
    remedy = (
        "name another folder with --out" if request.out else "set SMPL_RUNS, or train with --out, to write elsewhere"
    )
    yield try_folder(Place("runs", path, remedy, Level.FAILURE))


CHECKS = (temporary_files, home, caches, prepared_sets, downloads, runs)


def try_folder(place: Place) -> Finding:
    """Write, fsync, rename and lock a file, and take it away again, with the folder if that was not there."""
    there, file = _exists(place.path), place.path / f".smpl-doctor-{os.getpid()}"
    try:
        with _made(place.path), _removed(file):
            with locked(file.with_name(f"{file.name}.lock"), wait=False):
                write_durably(file, TRIAL)
            room = os.statvfs(place.path)
    except (UserError, OSError) as error:
        return Finding(place.name, place.level, str(error).split(";")[0], place.remedy)
    free = room.f_bavail * room.f_frsize
    found = f"{place.path} {'is writable' if there else 'can be made'}, {free / 1e9:,.1f} GB free"
    if free < LITTLE_ROOM:
        return Finding(place.name, Level.WARNING, found, f"make room there, or {place.remedy}")
    if room.f_files and room.f_favail < FEW_INODES:
        found += f", but only {room.f_favail} inodes"
        return Finding(place.name, Level.WARNING, found, f"remove files there, or {place.remedy}")
    return Finding(place.name, Level.OK, found)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and its parents as far as they are missing; take away again what was made. Raises DataError."""
    missing = [path for path in (folder, *folder.parents) if not _exists(path)]
    try:
        make_folder(folder)
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _removed(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _exists(path: Path) -> bool:
    with suppress(OSError):
        return path.exists()
    return False
