"""Make a prepared set of the shards that one process or many have written: check them, then write the manifest."""

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from data_prep.dataset.checksums import check_shard
from data_prep.dataset.manifest import MANIFEST, Manifest, Shard, load_manifest, save_manifest
from data_prep.dataset.shard_stats import Receipt, Skipped
from data_prep.prepare.plan import Identity
from data_prep.prepare.progress import Ledger
from data_prep.system.atomic_files import locked, write_durably
from data_prep.system.errors import DataError, UsageError, UserError
from data_prep.system.workers import available_cpus

LOCK = ".lock"
REPORT = "rejected.csv"
POLL_SECONDS = 10.0


class NotYetError(UsageError):
    """Shares are missing or at work: nothing is wrong if somebody prepares them."""


def finish(folder: Path) -> Manifest:
    """Write the manifest of a folder whose shards were prepared in shares, and return it; a finished one at once.

    It waits for processes that are at work there. Raises UsageError if a share is missing or of another preparation,
    DataError if a shard is damaged.
    """
    if (folder / MANIFEST).exists():
        return _already(folder)
    _check_folder(folder)
    with locked(folder / LOCK):
        return _finish_alone(folder)


def finish_within(folder: Path, seconds: float, tell: Callable[[str], object]) -> Manifest:
    """Do as :func:`finish` does once all shares are there, if that is so within ``seconds``.

    What it waits for is told once. Many processes may wait for one folder.

    Raises:
        UserError: the time is over.
        UsageError: there are shares of another preparation.
        DataError: a shard is damaged.
    """
    deadline, told = time.monotonic() + seconds, False
    while True:
        try:
            return _finish_now(folder)
        except NotYetError as missing:
            left = deadline - time.monotonic()
            if left <= 0:
                raise UserError(f"{missing}; waited for {seconds:.0f} s in vain") from None
            if not told:
                tell(f"waiting, {seconds:.0f} s at most: {missing}")
                told = True
        time.sleep(min(POLL_SECONDS, left))


def _finish_now(folder: Path) -> Manifest:
    """Finish a folder where nobody is at work. Raises NotYetError if somebody is, or if shares are missing."""
    if (folder / MANIFEST).exists():
        return _already(folder)
    _check_folder(folder)
    _collect(folder, Ledger.all_in(folder))  # without the lock, which shares hold for hours
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK, wait=False))
        except UsageError as error:
            raise NotYetError(str(error)) from None
        return _finish_alone(folder)


def _finish_alone(folder: Path) -> Manifest:
    """Check the shards and write the manifest, unless who held the lock before has done so."""
    if (folder / MANIFEST).exists():
        return _already(folder)
    ledgers = Ledger.all_in(folder)
    identity, receipts = _collect(folder, ledgers)
    shards = [receipt.shard for receipt in receipts.values() if receipt.shard]
    with ThreadPoolExecutor(available_cpus()) as pool:
        list(pool.map(partial(check_shard, folder), shards))
    manifest = write_manifest(folder, identity, receipts)
    for ledger in ledgers:
        ledger.close()
    return manifest


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise NotYetError(
            f"{folder} does not exist; prepare shares into it first: smpl-data prepare ... --shard-range I/N"
        )


def write_manifest(folder: Path, identity: Identity, receipts: Mapping[str, Receipt]) -> Manifest:
    """Write ``manifest.json``, and before it the report of what was skipped, and return the manifest."""
    ordered = [receipts[piece] for piece in identity.pieces]
    skipped = [one for receipt in ordered for one in receipt.skipped]
    (folder / REPORT).unlink(missing_ok=True)
    if skipped:
        write_durably(folder / REPORT, _report(identity, skipped))
    manifest = identity.describe(ordered)
    save_manifest(manifest, folder)
    return manifest


def confirmed(folder: Path, shards: Sequence[Shard]) -> set[str]:
    """The names of the shards that are there with the sha256 they should have."""

    def is_whole(shard: Shard) -> bool:
        with suppress(DataError):
            check_shard(folder, shard)
            return True
        return False

    with ThreadPoolExecutor(available_cpus()) as pool:
        return {shard.name for shard, whole in zip(shards, pool.map(is_whole, shards), strict=True) if whole}


def stands(folder: Path, shard: Shard) -> bool:
    """Whether a shard and its index are there, by their sizes."""
    return size_of(folder / shard.name) == shard.bytes and size_of(folder / shard.index_name) > 0


def _already(folder: Path) -> Manifest:
    manifest = load_manifest(folder)
    if lost := [shard.name for shard in manifest.shards if not stands(folder, shard)]:
        raise DataError(f"{folder} has lost {', '.join(lost[:3])}; the command that prepared it mends it")
    return manifest


def size_of(path: Path) -> int:
    """Bytes; -1 if it is missing or out of reach."""
    with suppress(OSError):
        return path.stat().st_size
    return -1


def _collect(folder: Path, ledgers: list[Ledger]) -> tuple[Identity, dict[str, Receipt]]:
    """What all ledgers together have finished: every piece of one preparation."""
    found: Identity | None = None
    receipts: dict[str, Receipt] = {}
    for ledger in ledgers:
        identity, own = ledger.read()
        if identity is None:  # nothing is noted there, or another process has finished the set just now
            continue
        if found is not None and identity != found:
            raise UsageError(f"{ledger.path} is of another preparation than the rest of {folder}; remove the odd one")
        found, receipts = identity, receipts | own
    if found is None:
        raise NotYetError(f"{folder} holds no shares; prepare them first: smpl-data prepare ... --shard-range I/N")
    missing = [piece for piece in found.pieces if piece not in receipts]
    if missing:
        some = ", ".join(missing[:3])
        raise NotYetError(f"{folder}: {len(missing)} of {len(found.pieces)} shards are not written yet ({some} ...)")
    return found, receipts


def _report(identity: Identity, skipped: list[Skipped]) -> bytes:
    """A table of the images that were left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("split", "class", "file", "reason"))
    for one in skipped:
        writer.writerow((one.split, identity.classes[one.label] if one.label >= 0 else "", one.name, one.reason))
    return text.getvalue().encode(errors="surrogateescape")


def count_skipped(folder: Path) -> int:
    """The images that were left out of a finished set."""
    try:
        with (folder / REPORT).open(newline="", errors="surrogateescape") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise DataError(f"{folder / REPORT}: {error.strerror}") from None
