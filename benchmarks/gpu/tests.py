"""``python -m benchmarks.gpu.tests FILE ARGUMENTS``: run pytest, and append the outcome of each test to FILE."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from data_prep.system.atomic_files import append_durably


class Recorder:
    """A plugin of pytest. With pytest-xdist it runs in the process that hears of every worker's tests."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a test that passed, failed or was skipped, and a fixture that failed."""
        if report.when == "call" or not report.passed:
            line = {"test": report.nodeid, "outcome": report.outcome, "seconds": report.duration}
            append_durably(self.path, json.dumps(line))


def main(path: str, *words: str) -> int:
    """Run pytest; with ``--numprocesses`` only if pytest-xdist is installed."""
    spread = [word for word in words if find_spec("xdist") or not word.startswith("--numprocesses")]
    return int(pytest.main(["-p", "no:cacheprovider", *spread], plugins=[Recorder(Path(path))]))


def outcomes(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each test file: the numbers of its tests, their seconds, and the names of those that failed."""
    rows: dict[str, dict[str, Any]] = {}
    for line in lines:
        file, _, name = line["test"].partition("::")
        row = rows.setdefault(file, {"file": file, "passed": 0, "failed": 0, "skipped": 0, "seconds": 0.0, "which": ""})
        row[line["outcome"]] += 1
        row["seconds"] = round(row["seconds"] + line["seconds"], 1)
        if line["outcome"] == "failed":
            row["which"] = f"{row['which']} {name}".strip()
    return list(rows.values())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
