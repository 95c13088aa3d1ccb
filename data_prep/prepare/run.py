"""Prepare a data set: load, divide, write the shards, and at the very end the manifest.

The same request gives the same bytes on any number of workers and of machines. A killed preparation leaves no manifest;
the same request again keeps the shards whose sha256 it can confirm and writes the others. It mends a complete set with
missing or cut shards in the same way.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from data_prep.dataset.manifest import MANIFEST, Manifest, load_manifest
from data_prep.dataset.shard_stats import Receipt
from data_prep.formats.webdataset.writer import write_shard
from data_prep.prepare.finalize import LOCK, confirmed, finish, size_of, stands, write_manifest
from data_prep.prepare.options import Request, check_options, default_out, settle
from data_prep.prepare.plan import Identity, Piece, Plan
from data_prep.prepare.progress import Ledger
from data_prep.sources import Source, check_raw
from data_prep.system.atomic_files import locked, make_folder
from data_prep.system.errors import DataError, UsageError
from data_prep.system.types import Option
from data_prep.system.workers import available_cpus, run_jobs

__all__ = ["LOCK", "Request", "completed", "default_out", "finish", "prepare", "prepare_share"]

BEGINNING = ".begin.lock"
"""Held while a ledger is begun, so that no two of different preparations are."""
MEND = "the manifest's own options give other bytes than before: prepare the data set again into an empty folder"


def prepare(request: Request, *, progress: bool = True) -> Manifest:
    """Prepare the requested set, or finish or mend it, and return its manifest; a complete one returns at once.

    Raises UsageError on a wrong request or a folder prepared with other options, DataError on bad data or a full disk.
    """
    if manifest := completed(request):
        return manifest
    source, _ = settle(request)
    make_folder(request.folder)
    with locked(request.folder / LOCK):
        if manifest := completed(request):
            return manifest
        plan = load_plan(request)
        if size_of(request.folder / MANIFEST) >= 0:
            return _mend(plan, request, source, progress=progress)
        finished = _write(plan, request, source, plan.pieces, progress=progress)
        manifest = write_manifest(request.folder, plan.identity, finished)
        Ledger.of(request.folder, request.share).close()
        return manifest


def prepare_share(request: Request, *, progress: bool = True) -> int:
    """Write the pieces of ``request.share`` and return how many these are; :func:`finish` makes the set of all shares.

    Shares may be at work at the same time, but nobody else with them. Raises as :func:`prepare` does.
    """
    if completed(request):
        return 0
    source, _ = settle(request)
    make_folder(request.folder)
    share, folder = request.share, request.folder
    with locked(folder / LOCK, shared=True), locked(folder / f"{LOCK}{share.suffix}"):
        plan = load_plan(request)
        pieces = plan.pieces[share.index :: share.count]
        _write(plan, request, source, pieces, progress=progress)
    return len(pieces)


def load_plan(request: Request) -> Plan:
    """Load or list the source and divide it. Raises UsageError or DataError."""
    source, options = settle(request)
    raw = source.load(request.load_options(options))
    check_raw(raw, source)
    check_options(options, len(raw.classes))
    return Plan.of(source, options, raw)


def completed(request: Request) -> Manifest | None:
    """The manifest if the folder is complete by its shards' sizes; reads no shard.

    A source of the user's own files is listed again, if it is named. Raises UsageError if the folder was prepared with
    other options or from other files.
    """
    source, options = settle(request)
    folder = request.folder
    if size_of(folder / MANIFEST) < 0:
        return None
    manifest = load_manifest(folder)
    wanted = {"dataset": source.name, **options}
    refuse_other(folder, wanted, {"dataset": manifest.dataset, **manifest.options})
    if request.source is not None and not source.downloads:
        refuse_other(folder, load_plan(request).identity.words(), words_of(manifest))
    return manifest if all(stands(folder, shard) for shard in manifest.shards) else None


def _mend(plan: Plan, request: Request, source: Source, *, progress: bool) -> Manifest:
    """Write anew what a complete set has lost; its manifest stays as it is."""
    folder, manifest = request.folder, load_manifest(request.folder)
    refuse_other(folder, plan.identity.words(), words_of(manifest))
    known = {shard.name: shard for shard in manifest.shards}
    whole = confirmed(folder, manifest.shards)
    lost = [piece for piece in plan.pieces if piece.name in known.keys() - whole]
    for receipt in _run(plan, request, source, lost, progress=progress):
        if receipt.shard != known[receipt.piece]:
            raise DataError(f"{folder}/{receipt.piece}: {MEND}")
    return manifest


def _write(
    plan: Plan, request: Request, source: Source, pieces: Iterable[Piece], *, progress: bool
) -> dict[str, Receipt]:
    """Write the pieces that an earlier call has not finished; return the receipts of all."""
    ledger = Ledger.of(request.folder, request.share)
    with locked(request.folder / BEGINNING):
        finished = _resume(request.folder, ledger, plan)
    missing = [piece for piece in pieces if piece.name not in finished]
    for receipt in _run(plan, request, source, missing, progress=progress):
        ledger.add(receipt)
        finished[receipt.piece] = receipt
    return finished


def _run(plan: Plan, request: Request, source: Source, pieces: list[Piece], *, progress: bool) -> Iterator[Receipt]:
    samples = sum(len(piece.indices) for piece in pieces)
    workers = request.workers or max(1, min(available_cpus(), samples // source.samples_per_worker))
    jobs = (plan.job(piece, request.folder, skip=request.skip) for piece in pieces)
    with closing(run_jobs(write_shard, jobs, workers)) as receipts:
        yield from _with_bar(receipts, samples, progress=progress)


def _resume(folder: Path, ledger: Ledger, plan: Plan) -> dict[str, Receipt]:
    """The receipts of the pieces that an earlier call finished and that still have their sha256."""
    before, known = ledger.read()
    others = [other for other in Ledger.all_in(folder) if other != ledger]
    for other, words in [(ledger, before), *((other, other.read()[0]) for other in others)]:
        if words is not None:
            refuse_other(folder, plan.identity.words(), words.words())
        if not other.same_shares(ledger):
            raise UsageError(f"{folder} is being prepared in other shares; go on with these, or choose another --out")
    if before is None and not others and any(folder.glob("*.tar")):
        raise UsageError(f"{folder} holds tar files but no prepared data set; choose another --out or empty it")
    whole = confirmed(folder, [receipt.shard for receipt in known.values() if receipt.shard])
    finished = {name: receipt for name, receipt in known.items() if receipt.shard is None or name in whole}
    ledger.start(plan.identity, finished)
    return finished


def refuse_other(folder: Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    """Refuse a folder that was ``found`` to be of another preparation than is ``wanted``. Raises UsageError."""
    keys = [key for key in sorted(wanted | found) if wanted.get(key) != found.get(key)]
    if keys:
        differ = ", ".join(f"{key} {found.get(key)!r} there and {wanted.get(key)!r} here" for key in keys)
        raise UsageError(f"{folder} was prepared with other options: {differ}; choose another --out or remove it")


def words_of(manifest: Manifest) -> dict[str, Option]:
    """What a finished set was made of, as :meth:`Identity.words` says it."""
    return Identity(manifest.dataset, manifest.classes, manifest.options, manifest.sources, ()).words()


def _with_bar(receipts: Iterable[Receipt], samples: int, *, progress: bool) -> Iterator[Receipt]:
    from tqdm import tqdm  # noqa: PLC0415

    # disable=None shows the bar on a terminal only.
    with tqdm(total=samples, unit=" images", disable=None if progress else True) as bar:
        for receipt in receipts:
            yield receipt
            bar.update((receipt.shard.samples if receipt.shard else 0) + len(receipt.skipped))
