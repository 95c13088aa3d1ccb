"""What the GPU suite's results say of its targets, as a table."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.curve import WANTED
from benchmarks.gpu.pieces import BUDGET_MINUTES, CURVE, PEER, RUN, STEP, TUNE, TUNED
from benchmarks.page import table
from benchmarks.record import save_record
from data_prep.system.atomic_files import write_durably

Row = dict[str, Any]
Rows = Callable[[str], list[Row]]
"""Gives the rows of all results whose names match a pattern; none if there is no result."""
COMPILED = {"inductor", "graphs"}
"""The compiler's own names; ``auto`` may be off."""


@dataclass(frozen=True)
class Finding:
    """What was measured of a target."""

    value: float
    of: str
    met: bool


def _data_wait(rows: Rows) -> Finding | None:
    found = [(row["data_wait"], _case(row)) for row in _fastest(rows)]
    return _finding(max(found), lambda value: value < 0.01) if found else None


def _to_peer(rows: Rows) -> Finding | None:
    found = [(row["speed"], row["loop"]) for row in rows(PEER) if row["loop"].startswith("mpl,")]
    return _finding(max(found), lambda value: value >= 10) if found else None


def _to_bare(rows: Rows) -> Finding | None:
    found = [(round(row["bare_ms"] / row["step_ms"], 4), _case(row)) for row in _fastest(rows)]
    return _finding(min(found), lambda value: value >= 0.6) if found else None


def _accuracy(rows: Rows) -> Finding | None:
    ends = [row for row in rows(CURVE) if row["run"] == TUNED and "test" in row]
    if not ends:
        return None
    accuracy, trained = ends[-1]["test"], ends[-1]["minutes"]
    whole = sum(row["minutes"] for row in rows("pieces") if row["piece"] in {RUN, TUNE})
    what = f"fine-tuned, last averaged weights; {whole:.1f} minutes of wall clock, {trained:.1f} of them training"
    return Finding(accuracy, what, accuracy >= WANTED and whole <= BUDGET_MINUTES)


TARGETS: Mapping[str, Callable[[Rows], Finding | None]] = {
    "share of the time that a step waits for its batch, below 0.01": _data_wait,
    "images/s to those of MPL-pytorch's loop, 10 or more": _to_peer,
    "images/s to those of the bare compiled passes, 0.6 or more": _to_bare,
    f"CIFAR-10, 4,000 labels: {WANTED} % of the test split in {BUDGET_MINUTES} minutes": _accuracy,
}


def write_tables(folder: Path) -> str:
    """Write ``targets.json``, ``steps.json`` and ``targets.md`` of the results in ``folder``; return the last."""
    rows = [_judged(title, measure(partial(_results, folder))) for title, measure in TARGETS.items()]
    save_record(folder / "targets.json", rows)
    steps = _results(folder, f"{STEP}*")
    if steps:
        save_record(folder / "steps.json", steps)
    text = f"# Targets\n\n{table(rows)}" + (f"\n# Steps\n\n{table(steps)}" if steps else "")
    write_durably(folder / "targets.md", text.encode())
    return text


def _judged(title: str, found: Finding | None) -> Row:
    if found is None:
        return {"target": title, "measured": None, "of": None, "met": "not measured"}
    return {"target": title, "measured": found.value, "of": found.of, "met": "yes" if found.met else "no"}


def _results(folder: Path, pattern: str) -> list[Row]:
    records = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{pattern}.json"))]
    return [row for record in records for row in record["rows"]]


def _fastest(rows: Rows) -> list[Row]:
    """Return for each method the row of its fastest compiled step."""
    best: dict[str, Row] = {}
    for row in rows(f"{STEP}*"):
        if row["compile"] in COMPILED and row["step_ms"] <= best.get(row["method"], row)["step_ms"]:
            best[row["method"]] = row
    return list(best.values())


def _case(row: Row) -> str:
    return f"{row['method']}, {row['precision']}, compile {row['compile']}"


def _finding(found: tuple[float, str], met: Callable[[float], bool]) -> Finding:
    return Finding(*found, met(found[0]))
