"""The list of finished shards while a preparation is under way, so that a killed one can go on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.durable import append_durably, fsync_folder, write_durably
from data_prep.manifest import Shard

LEDGER = ".progress.jsonl"


@dataclass(frozen=True)
class Ledger:
    """A first line that says what is being prepared, then a line a finished shard."""

    path: Path

    @classmethod
    def of(cls, folder: Path) -> "Ledger":
        """The ledger of an output folder."""
        return cls(folder / LEDGER)

    def read(self) -> tuple[dict[str, Any] | None, dict[str, Shard]]:
        """What was being prepared (None: nothing) and the finished shards by name; a torn last line is dropped."""
        rows: list[dict[str, Any]] = []
        for line in self.path.read_text("utf-8", errors="replace").splitlines() if self.path.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        if not rows:
            return None, {}
        return rows[0], {row["name"]: Shard(**row) for row in rows[1:]}

    def start(self, identity: dict[str, Any], finished: dict[str, Shard]) -> None:
        """Write the first line and what is known to be finished."""
        lines = [identity, *(asdict(shard) for shard in finished.values())]
        write_durably(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def add(self, shard: Shard) -> None:
        """Note a shard that stands under its final name."""
        append_durably(self.path, json.dumps(asdict(shard)))

    def close(self) -> None:
        """Remove it: the manifest stands."""
        self.path.unlink(missing_ok=True)
        fsync_folder(self.path.parent)
