"""The list of finished shards while a preparation is under way, so that a killed one can go on.

Of a preparation that several processes share, each has a ledger of its own.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from data_prep.dataset.shard_stats import Receipt
from data_prep.prepare.plan import Identity
from data_prep.system.atomic_files import append_durably, fsync_folder, write_durably
from data_prep.system.errors import DataError

PATTERN = ".progress*.jsonl"


@dataclass(frozen=True)
class Share:
    """Every ``count``-th piece of a plan, from ``index`` on."""

    index: int = 0
    count: int = 1

    @property
    def suffix(self) -> str:
        """Tells the files of shares apart; empty where one process does everything."""
        return f"-{self.index}-of-{self.count}" if self.count > 1 else ""


WHOLE = Share()


@dataclass(frozen=True)
class Ledger:
    """A first line that says what is being prepared, then a line a finished shard."""

    path: Path

    @classmethod
    def of(cls, folder: Path, share: Share) -> "Ledger":
        """The ledger of a share of the work in an output folder."""
        return cls(folder / f".progress{share.suffix}.jsonl")

    def same_shares(self, other: "Ledger") -> bool:
        """Whether both are of one way to share the work."""
        return self.path.name.partition("-of-")[2] == other.path.name.partition("-of-")[2]

    @classmethod
    def all_in(cls, folder: Path) -> list["Ledger"]:
        """Every ledger in the folder."""
        return [cls(path) for path in sorted(folder.glob(PATTERN))]

    def read(self) -> tuple[Identity | None, dict[str, Receipt]]:
        """What was being prepared (None: nothing) and the receipts by piece; a torn last line is dropped.

        Raises DataError on a ledger of another version.
        """
        rows = []
        for line in self.path.read_text("utf-8", errors="replace").splitlines() if self.path.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        if not rows:
            return None, {}
        try:
            first = rows[0]
            lists = {name: tuple(first[name]) for name in ("classes", "pieces")}
            receipts = [Receipt.from_row(row) for row in rows[1:]]
            return Identity(**first | lists), {receipt.piece: receipt for receipt in receipts}
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{self.path} is not a ledger of this version; remove it and its folder's files") from None

    def start(self, identity: Identity, finished: dict[str, Receipt]) -> None:
        """Write the first line and what is known to be finished."""
        lines = [asdict(identity), *(receipt.to_row() for receipt in finished.values())]
        write_durably(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def add(self, receipt: Receipt) -> None:
        """Note a piece whose shard stands under its final name."""
        append_durably(self.path, json.dumps(receipt.to_row()))

    def close(self) -> None:
        """Remove it: the manifest stands."""
        self.path.unlink(missing_ok=True)
        fsync_folder(self.path.parent)
