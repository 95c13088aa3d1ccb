"""The journal from which a killed preparation resumes: a list of the finished shards in the folder of the set.

If several calls write a range of the shards each, each has a journal of its own. The names of the lock files are here
too. Progress bars are in ``system/progress_bar.py``.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.dataset.shard_stats import ShardStats
from data_prep.prepare.options import ShardRange
from data_prep.prepare.plan import SetIdentity
from data_prep.system.atomic_files import append_durably, fsync_folder, write_durably
from data_prep.system.errors import DataError

LOCK = ".lock"
"""Held by the one call that writes all shards, or shared by the calls that write a range each."""
START_LOCK = ".begin.lock"
"""Held while a progress file is started, so that two different preparations cannot both start in one folder."""
PATTERN = ".progress*.jsonl"


@dataclass(frozen=True)
class ProgressFile:
    """A journal: a JSON line that says what is being prepared, then one line for each finished shard."""

    path: Path

    @classmethod
    def of(cls, folder: Path, shard_range: ShardRange) -> "ProgressFile":
        """Return the progress file of a range of shards; it need not exist yet."""
        return cls(folder / f".progress{shard_range.suffix}.jsonl")

    @classmethod
    def find_all(cls, folder: Path) -> list["ProgressFile"]:
        """Return every progress file in the folder."""
        return [cls(path) for path in sorted(folder.glob(PATTERN))]

    def has_same_count(self, other: "ProgressFile") -> bool:
        """Return whether the ranges of both divide the shards into the same number of parts."""
        return self.path.name.partition("-of-")[2] == other.path.name.partition("-of-")[2]

    def read(self) -> tuple[SetIdentity | None, dict[str, ShardStats]]:
        """Return the identity of the set that is being prepared, if there is one, and the finished shards by name.

        A last line that a crash has cut is dropped. Raises DataError on a file of another version.
        """
        rows = self._rows()
        if not rows:
            return None, {}
        try:
            tuples = {name: tuple(rows[0][name]) for name in ("classes", "pieces")}
            finished = [ShardStats.from_row(row) for row in rows[1:]]
            return SetIdentity(**rows[0] | tuples), {stats.piece: stats for stats in finished}
        except (KeyError, TypeError, ValueError):
            raise DataError(
                f"{self.path} is not a progress file of this version; remove it and its folder's files"
            ) from None

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for line in self.path.read_text("utf-8", errors="replace").splitlines() if self.path.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def start(self, identity: SetIdentity, finished: dict[str, ShardStats]) -> None:
        """Write the first line and the shards that are known to be finished. Raises DataError."""
        lines = [asdict(identity), *(stats.to_row() for stats in finished.values())]
        write_durably(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def add(self, stats: ShardStats) -> None:
        """Append a shard whose tar has its final name. Raises DataError."""
        append_durably(self.path, json.dumps(stats.to_row()))

    def remove(self) -> None:
        """Remove the file, because the manifest has been written."""
        self.path.unlink(missing_ok=True)
        fsync_folder(self.path.parent)
