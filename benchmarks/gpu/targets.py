"""Compare the results of the GPU suite with its targets, as tables."""

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
"""Returns the rows of all results whose names match a pattern; an empty list if there is none."""
COMPILED = {"inductor", "graphs"}
"""Values of a row's ``compile`` for compiled steps; with ``--compile auto`` a step may be uncompiled."""


@dataclass(frozen=True)
class Measurement:
    """The measured value of a target."""

    value: float
    of: str
    """The case that the value belongs to."""
    met: bool


def _data_wait(rows: Rows) -> Measurement | None:
    found = [(row["data_wait"], _case(row)) for row in _fastest(rows)]
    return _measurement(max(found), lambda value: value < 0.01) if found else None


def _to_peer(rows: Rows) -> Measurement | None:
    found = [(row["speed"], row["loop"]) for row in rows(PEER) if row["loop"].startswith("mpl,")]
    return _measurement(max(found), lambda value: value >= 10) if found else None


def _to_bare(rows: Rows) -> Measurement | None:
    found = [(round(row["bare_ms"] / row["step_ms"], 4), _case(row)) for row in _fastest(rows)]
    return _measurement(min(found), lambda value: value >= 0.6) if found else None


def _accuracy(rows: Rows) -> Measurement | None:
    ends = [row for row in rows(CURVE) if row["run"] == TUNED and "test" in row]
    if not ends:
        return None
    accuracy, trained = ends[-1]["test"], ends[-1]["minutes"]
    whole = sum(row["minutes"] for row in rows("pieces") if row["piece"] in {RUN, TUNE})
    what = f"fine-tuned, last averaged weights; {whole:.1f} minutes of wall clock, {trained:.1f} of them training"
    return Measurement(accuracy, what, accuracy >= WANTED and whole <= BUDGET_MINUTES)


TARGETS: Mapping[str, Callable[[Rows], Measurement | None]] = {
    "share of the time that a step waits for its batch, below 0.01": _data_wait,
    "images/s to those of MPL-pytorch's loop, 10 or more": _to_peer,
    "images/s to those of the bare compiled passes, 0.6 or more": _to_bare,
    f"CIFAR-10, 4,000 labels: {WANTED} % of the test split in {BUDGET_MINUTES} minutes": _accuracy,
}


def write_tables(folder: Path) -> str:
    """Write ``targets.json``, ``steps.json`` and ``targets.md`` of the results in ``folder``; return ``targets.md``."""
    rows = [_row(title, measure(partial(_results, folder))) for title, measure in TARGETS.items()]
    save_record(folder / "targets.json", rows)
    steps = _results(folder, f"{STEP}*")
    if steps:
        save_record(folder / "steps.json", steps)
    text = f"# Targets\n\n{table(rows)}" + (f"\n# Steps\n\n{table(steps)}" if steps else "")
    write_durably(folder / "targets.md", text.encode())
    return text


def _row(title: str, found: Measurement | None) -> Row:
    if found is None:
        return {"target": title, "measured": None, "of": None, "met": "not measured"}
    return {"target": title, "measured": found.value, "of": found.of, "met": "yes" if found.met else "no"}


def _results(folder: Path, pattern: str) -> list[Row]:
    records = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{pattern}.json"))]
    return [row for record in records for row in record["rows"]]


def _fastest(rows: Rows) -> list[Row]:
    """Return the row of the fastest compiled step of each method."""
    best: dict[str, Row] = {}
    for row in rows(f"{STEP}*"):
        if row["compile"] in COMPILED and row["step_ms"] <= best.get(row["method"], row)["step_ms"]:
            best[row["method"]] = row
    return list(best.values())


def _case(row: Row) -> str:
    return f"{row['method']}, {row['precision']}, compile {row['compile']}"


def _measurement(found: tuple[float, str], met: Callable[[float], bool]) -> Measurement:
    return Measurement(*found, met(found[0]))
