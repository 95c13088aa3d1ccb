"""Checks of the folders that a run writes to: a file is written to each in the same way as a run does it."""

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
from pipeline.doctor.check import CheckOptions, CheckResult, Level

CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "MPLCONFIGDIR")
"""Environment variables that name the caches of libraries."""
LOW_SPACE = 1 << 30
"""If a folder has fewer free bytes, the result is a warning."""
FEW_INODES = 1000
"""If a folder has fewer free inodes, the result is a warning."""
CONTENT = bytes(1 << 16)
"""The bytes that are written to each folder to test it."""
HOME_REMEDY = "set HOME to a writable folder, such as /tmp"


@dataclass(frozen=True)
class WritableFolder:
    """A folder that must be writable, and what to report if it is not."""

    name: str
    """What the folder holds, such as ``downloads``."""
    path: Path
    remedy: str
    """What the user can do if it is not writable."""
    level: Level = Level.WARNING
    """The level of the result if it cannot be written to."""


def temporary_files(_: CheckOptions) -> Iterator[CheckResult]:
    name, remedy = "temporary files", "set TMPDIR to a writable folder"
    try:
        yield try_folder(WritableFolder(name, Path(tempfile.gettempdir()), remedy, Level.FAILURE))
    except FileNotFoundError as error:
        yield CheckResult(name, Level.FAILURE, error.strerror or str(error), remedy)


def home(_: CheckOptions) -> Iterator[CheckResult]:
    try:
        yield try_folder(WritableFolder("home", Path.home(), HOME_REMEDY))
    except RuntimeError:
        yield CheckResult(
            "home", Level.WARNING, f"user {os.getuid()} has no home folder, and HOME is not set", HOME_REMEDY
        )


def caches(_: CheckOptions) -> Iterator[CheckResult]:
    """Test the folders in which libraries keep what they compile, if the environment names them."""
    for name in CACHES:
        if os.environ.get(name):
            yield try_folder(WritableFolder(name, Path(os.environ[name]), f"set {name} to a writable folder"))


def prepared_sets(options: CheckOptions) -> Iterator[CheckResult]:
    """Test the folder of prepared data sets. It may be read-only if it holds some already."""
    path = Path(os.environ.get("SMPL_DATA") or "data")
    usable = options.data_dir is not None or any(path.glob(f"*/{MANIFEST}"))
    remedy = "set SMPL_DATA to a writable folder" + ("; the sets in it can still be trained on" if usable else "")
    yield try_folder(WritableFolder("prepared sets", path, remedy, Level.WARNING if usable else Level.FAILURE))


def downloads(_: CheckOptions) -> Iterator[CheckResult]:
    remedy = "set SMPL_CACHE to a writable folder, or prepare from local files with --source"
    try:
        yield try_folder(WritableFolder("downloads", cache_folder(), remedy))
    except RuntimeError:
        yield CheckResult("downloads", Level.WARNING, "neither SMPL_CACHE nor HOME is set", remedy)


def runs(options: CheckOptions) -> Iterator[CheckResult]:
    path = options.out or Path(os.environ.get("SMPL_RUNS") or "runs")
    remedy = (
        "name another folder with --out" if options.out else "set SMPL_RUNS, or train with --out, to write elsewhere"
    )
    yield try_folder(WritableFolder("runs", path, remedy, Level.FAILURE))


CHECKS = (temporary_files, home, caches, prepared_sets, downloads, runs)


def try_folder(folder: WritableFolder) -> CheckResult:
    """Write, fsync, rename and lock a file; remove it afterwards, and the folder too if it did not exist before."""
    existed, file = _exists(folder.path), folder.path / f".smpl-doctor-{os.getpid()}"
    try:
        with _created(folder.path), _removed(file):
            with locked(file.with_name(f"{file.name}.lock"), wait=False):
                write_durably(file, CONTENT)
            state = os.statvfs(folder.path)
    except (UserError, OSError) as error:
        return CheckResult(folder.name, folder.level, str(error).split(";")[0], folder.remedy)
    free = state.f_bavail * state.f_frsize
    found = f"{folder.path} {'is writable' if existed else 'can be made'}, {free / 1e9:,.1f} GB free"
    if free < LOW_SPACE:
        return CheckResult(folder.name, Level.WARNING, found, f"free some space there, or {folder.remedy}")
    if state.f_files and state.f_favail < FEW_INODES:
        found += f", but only {state.f_favail} inodes"
        return CheckResult(folder.name, Level.WARNING, found, f"remove files there, or {folder.remedy}")
    return CheckResult(folder.name, Level.OK, found)


@contextmanager
def _created(folder: Path) -> Iterator[None]:
    """Return a context in which a folder and its parents exist; those that were missing are removed at its end.

    Raises:
        DataError: the folder cannot be made.
    """
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
    """Return a context at whose end a file is removed, if it exists then."""
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _exists(path: Path) -> bool:
    with suppress(OSError):
        return path.exists()
    return False
