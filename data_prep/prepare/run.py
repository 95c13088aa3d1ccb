"""Prepare a data set: resolve the request, load the source, write the shards, and at the very end the manifest.

The same request gives the same bytes with any number of workers and machines. A killed preparation leaves no manifest;
the same request again keeps the shards whose sha256 is right and writes the others. It repairs a finished set with
missing or damaged shards in the same way.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from data_prep.dataset.checksums import damaged_shards, missing_shards
from data_prep.dataset.manifest import SHA256, Manifest, has_manifest, load_manifest
from data_prep.dataset.shard_stats import ShardStats
from data_prep.formats.webdataset.writer import write_shard
from data_prep.prepare.copies import remark_on_copies
from data_prep.prepare.finalize import write_manifest
from data_prep.prepare.options import PrepareRequest, ResolvedRequest, resolve
from data_prep.prepare.plan import PlannedShard, SetIdentity
from data_prep.prepare.progress import LOCK, START_LOCK, ProgressFile
from data_prep.system.atomic_files import locked, make_folder
from data_prep.system.errors import DataError, UsageError
from data_prep.system.progress_bar import progress_bar
from data_prep.system.types import Option
from data_prep.system.workers import available_cpus, run_jobs

logger = logging.getLogger(__name__)


def prepare(request: PrepareRequest) -> Manifest:
    """Prepare the requested set, resume its preparation or repair it, and return its manifest.

    Raises UsageError on a wrong request or a folder prepared with other options, DataError on bad data or a full disk.
    """
    resolved = resolve(request)
    return find_complete(resolved) or prepare_set(resolved)


def find_complete(request: ResolvedRequest) -> Manifest | None:
    """Return the manifest of the requested set if all shards are there with their sizes; read no shard.

    Files of the user are listed again. Raises UsageError if the folder was prepared with other options or from other
    files.
    """
    manifest = _open_existing(request)
    return manifest if manifest and not missing_shards(request.folder, manifest.shards) else None


def prepare_set(request: ResolvedRequest) -> Manifest:
    """Write what the folder of a request lacks, and return the manifest. Raises as :func:`prepare` does."""
    make_folder(request.folder)
    with locked(request.folder / LOCK):
        if manifest := _open_existing(request):
            return _repair(request, manifest)
        stats = _write_shards(request, request.plan.shards)
        manifest = write_manifest(request.folder, request.plan.identity, stats)
        ProgressFile.of(request.folder, request.shard_range).remove()
        return manifest


def prepare_range(request: ResolvedRequest) -> int:
    """Write the shards of the request's range and return their number; ``finish`` makes a set of all ranges.

    Return 0 if the set is finished. Several ranges may be written at the same time, but nothing else in that folder.
    Raises as :func:`prepare` does.
    """
    if find_complete(request):
        return 0
    make_folder(request.folder)
    lock = request.folder / LOCK
    with locked(lock, shared=True), locked(lock.with_name(f"{LOCK}{request.shard_range.suffix}")):
        shards = request.shard_range.select(request.plan.shards)
        _write_shards(request, shards)
        return len(shards)


def _open_existing(request: ResolvedRequest) -> Manifest | None:
    """Return the manifest of the folder, if it has one. Raises UsageError if it is not of this request."""
    if not has_manifest(request.folder):
        return None
    manifest = load_manifest(request.folder)
    wanted = {"dataset": request.source.name, **request.options}
    _refuse_other(request.folder, wanted, {"dataset": manifest.dataset, **manifest.options})
    if request.lists_files:
        _refuse_other(request.folder, request.plan.identity.as_options(), SetIdentity.of(manifest).as_options())
    return manifest


def _repair(request: ResolvedRequest, manifest: Manifest) -> Manifest:
    """Write the shards again that a finished set has lost; its manifest stays as it is."""
    folder = request.folder
    if not missing_shards(folder, manifest.shards):  # another process has finished it while this one waited
        return manifest
    _refuse_other(folder, request.plan.identity.as_options(), SetIdentity.of(manifest).as_options())
    described = {shard.name: shard for shard in manifest.shards}
    damaged = damaged_shards(folder, manifest.shards)
    for stats in _run(request, [shard for shard in request.plan.shards if shard.name in damaged]):
        if stats.shard != described[stats.piece]:
            raise DataError(
                f"{folder}/{stats.piece}: the manifest's own options give other bytes than before: "
                "prepare the data set again into an empty folder"
            )
    return manifest


def _write_shards(request: ResolvedRequest, shards: Sequence[PlannedShard]) -> dict[str, ShardStats]:
    """Write the shards that an earlier call has not finished; return the statistics of all by name."""
    progress = ProgressFile.of(request.folder, request.shard_range)
    with locked(request.folder / START_LOCK):
        finished = _resume(request.folder, progress, request.plan.identity)
    _log_remarks(request)
    for stats in _run(request, [shard for shard in shards if shard.name not in finished]):
        progress.add(stats)
        finished[stats.piece] = stats
    return finished


def _log_remarks(request: ResolvedRequest) -> None:
    """Log what was left out or decided without being asked; of several ranges, only the first one does."""
    if request.shard_range.index == 0:
        for line in request.plan.raw.remarks():
            logger.info(line)
        if line := remark_on_copies(request.plan):
            logger.warning(line)


def _run(request: ResolvedRequest, shards: list[PlannedShard]) -> Iterator[ShardStats]:
    """Write the shards with worker processes and yield their statistics as they are finished."""
    samples = sum(len(shard.indices) for shard in shards)
    workers = request.workers or max(1, min(available_cpus(), samples // request.source.samples_per_worker))
    jobs = (request.plan.job(shard, request.folder, skip=request.skip) for shard in shards)
    with closing(run_jobs(write_shard, jobs, workers)) as results, progress_bar(samples, "images") as advance:
        for stats in results:
            yield stats
            advance((stats.shard.samples if stats.shard else 0) + len(stats.skipped))


def _resume(folder: Path, progress: ProgressFile, identity: SetIdentity) -> dict[str, ShardStats]:
    """Start the progress file, and return the shards that an earlier call finished and whose sha256 is still right.

    Raises UsageError if something else is or was prepared in the folder.
    """
    before, known = progress.read()
    others = [file for file in ProgressFile.find_all(folder) if file != progress]
    for file, found in [(progress, before), *((file, file.read()[0]) for file in others)]:
        if found is not None:
            _refuse_other(folder, identity.as_options(), found.as_options())
        if not file.has_same_count(progress):
            raise UsageError(
                f"{folder} is being prepared in other shard ranges; go on with these, or choose another --out"
            )
    if before is None and not others and any(folder.glob("*.tar")):
        raise UsageError(f"{folder} holds tar files but no prepared data set; choose another --out or empty it")
    damaged = damaged_shards(folder, [stats.shard for stats in known.values() if stats.shard])
    finished = {name: stats for name, stats in known.items() if name not in damaged}
    progress.start(identity, finished)
    return finished


def _refuse_other(folder: Path, wanted: Mapping[str, Option], found: Mapping[str, Option]) -> None:
    """Refuse a folder that was prepared with other options or from other files than are wanted. Raises UsageError."""
    keys = [key for key in sorted({*wanted, *found}) if wanted.get(key) != found.get(key)]
    if keys:
        files = {key for key in keys if SHA256.fullmatch(str(wanted.get(key, found.get(key))))}
        how = ["with other options"] * bool(set(keys) - files) + ["from other files"] * bool(files)
        differ = ", ".join(f"{key} {_shown(found.get(key))} there and {_shown(wanted.get(key))} here" for key in keys)
        raise UsageError(f"{folder} was prepared {' and '.join(how)}: {differ}; choose another --out or remove it")


def _shown(value: Option | None) -> str:
    """Return an option's value for a message, and of a file's sha256 the first 12 digits."""
    return str(value)[:12] if SHA256.fullmatch(str(value)) else repr(value)
