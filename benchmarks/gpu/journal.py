"""The journal of the GPU suite: how each piece ended, and its minutes of wall clock over all calls.

A piece's beginning is written before it starts, so that the minutes of a call that was killed are not forgotten.
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
    """How a piece ended, or that it has not."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    KILLED = "killed"
    """The whole suite was, so it could not note how."""


class Journal:
    """The suite's ``pieces.json``. It names no machine: to ask for it would take memory of the GPU."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME

    def settle(self) -> None:
        """End what a killed call began: its minutes last until the last line of its log, at most until its limit."""
        self._write([self._settled(row) if row["ending"] == Ending.RUNNING.value else row for row in self._rows()])

    def begin(self, piece: Piece, limit: float) -> None:
        """Note that a piece begins, which is stopped after ``limit`` minutes."""
        row = self._row(piece)
        row |= {"ending": Ending.RUNNING.value, "calls": row["calls"] + 1, "begun": time.time(), "limit": limit}
        self._replace(row)

    def end(self, piece: Piece, ending: Ending, minutes: float) -> None:
        """Note how the piece that was begun has ended, and add its minutes."""
        self._replace(_ended(self._row(piece), ending, minutes))

    def _settled(self, row: dict[str, Any]) -> dict[str, Any]:
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
