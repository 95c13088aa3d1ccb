"""The history of the GPU suite, ``pieces.json``: how each piece ended, and its wall-clock minutes over all calls.

The start of a piece is recorded before it runs, so that the minutes of a killed call are counted.
"""

import json
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from benchmarks.gpu.piece import Piece
from data_prep.system.atomic_files import write_durably

NAME = "pieces.json"


class Ending(Enum):
    """The last known state of a piece."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    KILLED = "killed"
    """The call was killed while this piece ran, so the outcome is not known."""


class History:
    """The suite's ``pieces.json``. It does not name the machine, since asking for the GPU would take GPU memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME

    def close_interrupted(self) -> None:
        """Mark the piece that a killed call left running as killed.

        Its minutes count until the last change of its log, and not beyond its limit.
        """
        self._write([self._closed(row) if row["ending"] == Ending.RUNNING.value else row for row in self._rows()])

    def record_start(self, piece: Piece, limit: float) -> None:
        """Record that a piece starts and may run for ``limit`` minutes."""
        row = self._row(piece)
        row |= {"ending": Ending.RUNNING.value, "calls": row["calls"] + 1, "begun": time.time(), "limit": limit}
        self._replace(row)

    def record_end(self, piece: Piece, ending: Ending, minutes: float) -> None:
        """Record how the started piece ended, and add its minutes."""
        self._replace(_ended(self._row(piece), ending, minutes))

    def _closed(self, row: dict[str, Any]) -> dict[str, Any]:
        log = self.folder / "logs" / f"{row['piece']}.log"
        seconds = log.stat().st_mtime - row["begun"] if log.exists() else 0.0
        return _ended(row, Ending.KILLED, min(max(0.0, seconds / 60), row["limit"]))

    def _row(self, piece: Piece) -> dict[str, Any]:
        new = {"piece": piece.name, "ending": "", "minutes": 0.0, "calls": 0}
        return next((row for row in self._rows() if row["piece"] == piece.name), new)

    def _rows(self) -> list[dict[str, Any]]:
        return json.loads(self.path.read_text())["rows"] if self.path.exists() else []

    def _replace(self, row: dict[str, Any]) -> None:
        self._write([*(other for other in self._rows() if other["piece"] != row["piece"]), row])

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        write_durably(self.path, (json.dumps({"rows": rows}, indent=2) + "\n").encode())


def _ended(row: dict[str, Any], ending: Ending, minutes: float) -> dict[str, Any]:
    kept = {key: row[key] for key in ("piece", "calls")}
    return kept | {"ending": ending.value, "minutes": round(row["minutes"] + minutes, 2)}
