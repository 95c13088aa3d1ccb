"""The tables of docs/results.md are those that ``smpl compare`` writes from the runs that are saved beside them."""

import csv
import re
from typing import NamedTuple

import pytest

from pipeline.commands.compare import main as compare
from pipeline.comparison.runs import SharedOptions
from pipeline.comparison.table import table_lines
from pipeline.comparison.variants import read_variants
from tests import ROOT

PAGE, RESULTS = ROOT / "docs/results.md", ROOT / "benchmarks/results"
TABLE = re.compile(
    r"^```sh\n(?P<command>smpl compare [^`]*)^```\n\nRuns: \[(?P<runs>[^\]]+\.csv)\][^\n]*\n\n(?P<table>(?:^\|.*\n)+)",
    re.MULTILINE,
)


class Table(NamedTuple):
    """A table of the page, the command that made it, and the name of the file with its runs."""

    command: list[str]
    runs: str
    lines: list[str]


def tables() -> list[Table]:
    """Return the tables of the page in their order."""
    found = []
    for match in TABLE.finditer(PAGE.read_text()):
        words = match["command"].replace("\\\n", "").split()[2:]
        found.append(Table(words, match["runs"], match["table"].splitlines()))
    return found


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.runs)
def test_a_table_of_results_is_made_of_its_runs(table: Table) -> None:
    options = compare.make_context("compare", [*table.command]).params
    shared = SharedOptions(*(options[key] for key in ("dataset", "steps", "recipe", "settings", "source", "split")))
    variants = read_variants(options["methods"], options["ablate_meta"], shared.config)
    rows: dict[str, dict[int, float]] = {}
    with (RESULTS / table.runs).open() as file:
        for run in csv.DictReader(file):
            rows.setdefault(run["method"], {})[int(run["seed"])] = float(run[f"{options['split']}_accuracy"])
    assert list(rows) == [variant.name for variant in variants]
    seeds = range(options["first_seed"], options["first_seed"] + options["seeds"])
    assert all(list(row) == list(seeds) for row in rows.values())
    ablations = {variant.name: variant.ablation for variant in variants if variant.ablation}
    assert table.lines == list(table_lines(rows, options["split"], ablations))


def test_every_table_is_found_and_no_seed_chose_the_settings_that_a_table_shows() -> None:
    found = tables()
    saved = {path.name for path in RESULTS.glob("selection-*.csv")} | {"digits-20.csv", "moons.csv"}
    assert {table.runs for table in found} == saved
    seeds = {"val": set[int](), "test": set[int]()}
    for table in found:
        options = compare.make_context("compare", [*table.command]).params
        first = options["first_seed"]
        seeds[options["split"]] |= set(range(first, first + options["seeds"]))
    assert seeds["val"]
    assert seeds["test"]
    assert not seeds["val"] & seeds["test"]
