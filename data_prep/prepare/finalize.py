"""Finish a set whose shards were written by one call or by many: check the shards, then write the manifest."""

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from data_prep.dataset.checksums import damaged_shards, missing_shards
from data_prep.dataset.manifest import Manifest, has_manifest, load_manifest, save_manifest
from data_prep.dataset.shard_stats import ShardStats
from data_prep.prepare.plan import SetIdentity
from data_prep.prepare.progress import LOCK, ProgressFile
from data_prep.prepare.rejected import save_rejected
from data_prep.prepare.summarize import summarize
from data_prep.system.atomic_files import locked
from data_prep.system.errors import DataError, UsageError, UserError

logger = logging.getLogger(__name__)

POLL_SECONDS = 10.0


class UnfinishedError(UsageError):
    """Shards are missing or are still being written; other processes may finish them."""


def finish(folder: Path) -> Manifest:
    """Write the manifest of a folder whose shards were written in ranges, and return it.

    Wait for processes that are writing there now. A finished set is left as it is.

    Raises:
        UsageError: shards are missing, or they are of different preparations.
        DataError: a shard is damaged.
    """
    if has_manifest(folder):
        return _open_finished(folder)
    _check_folder(folder)
    with locked(folder / LOCK):
        return _finish_locked(folder)


def wait_and_finish(folder: Path, seconds: float) -> Manifest:
    """Finish a folder as soon as all of its shards are there, waiting at most ``seconds``.

    Log once what it waits for. Many processes may wait for the same folder.

    Raises:
        UserError: shards are still missing at the end of the time.
        UsageError: there are shards of different preparations.
        DataError: a shard is damaged.
    """
    deadline, logged = time.monotonic() + seconds, False
    while True:
        try:
            return _finish_if_unlocked(folder)
        except UnfinishedError as problem:
            left = deadline - time.monotonic()
            if left <= 0:
                raise UserError(f"{problem}; waited {seconds:.0f} s") from None
            if not logged:
                logger.info("waiting at most %.0f s: %s", seconds, problem)
                logged = True
        time.sleep(min(POLL_SECONDS, left))


def write_manifest(folder: Path, identity: SetIdentity, stats: Mapping[str, ShardStats]) -> Manifest:
    """Write the table of rejected images and then ``manifest.json``, and return the manifest. Raises DataError."""
    ordered = [stats[name] for name in identity.pieces]
    save_rejected(folder, identity.classes, [image for shard in ordered for image in shard.skipped])
    manifest = summarize(identity, ordered)
    save_manifest(manifest, folder)
    return manifest


def _finish_if_unlocked(folder: Path) -> Manifest:
    """Finish a folder where nobody is writing. Raises UnfinishedError if somebody is, or if shards are missing."""
    if has_manifest(folder):
        return _open_finished(folder)
    _check_folder(folder)
    _collect(folder, ProgressFile.find_all(folder))  # without the lock, which the other calls hold for hours
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK, wait=False))
        except UsageError as error:
            raise UnfinishedError(str(error)) from None
        return _finish_locked(folder)


def _finish_locked(folder: Path) -> Manifest:
    if has_manifest(folder):  # another process has finished it while this one waited for the lock
        return _open_finished(folder)
    progress_files = ProgressFile.find_all(folder)
    identity, stats = _collect(folder, progress_files)
    for error in damaged_shards(folder, [one.shard for one in stats.values() if one.shard]).values():
        raise error
    manifest = write_manifest(folder, identity, stats)
    for file in progress_files:
        file.remove()
    return manifest


def _open_finished(folder: Path) -> Manifest:
    manifest = load_manifest(folder)
    if lost := [shard.name for shard in missing_shards(folder, manifest.shards)]:
        raise DataError(f"{folder} has lost {', '.join(lost[:3])}; run the command that prepared it again to repair it")
    return manifest


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UnfinishedError(f"{folder} does not exist; write shards first: smpl-data prepare ... --shard-range I/N")


def _collect(folder: Path, files: list[ProgressFile]) -> tuple[SetIdentity, dict[str, ShardStats]]:
    """Return what all progress files together have finished: every planned shard of one preparation."""
    found: SetIdentity | None = None
    stats: dict[str, ShardStats] = {}
    for file in files:
        identity, finished = file.read()
        if identity is None:  # nothing is written yet, or another process has just finished the set
            continue
        if found is not None and identity != found:
            raise UsageError(f"{file.path} is of another preparation than the rest of {folder}; remove one of the two")
        found, stats = identity, stats | finished
    if found is None:
        raise UnfinishedError(f"{folder} holds no shards; prepare some: smpl-data prepare ... --shard-range I/N")
    missing = [name for name in found.pieces if name not in stats]
    if missing:
        some = ", ".join(missing[:3])
        raise UnfinishedError(
            f"{folder}: {len(missing)} of {len(found.pieces)} shards are not written yet ({some} ...)"
        )
    return found, stats
