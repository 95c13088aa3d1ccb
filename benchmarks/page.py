"""``smpl bench page``: write docs/performance.md from the saved results, so that no figure is typed by hand."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.step import CASES, count_backward, count_forward
from data_prep.system.atomic_files import write_durably
from data_prep.system.cli import Command

RESULTS = Path(__file__).parent / "results"
PAGE = Path("docs/performance.md")
HEAD = """# What was measured

`smpl bench page` writes this page from [benchmarks/results](../benchmarks/results): do not edit it. Above each table
are the command that made it, its machine and its commit (`+`: files differed from it).
"""
NO_GPU = "**Nothing here was measured on a GPU.**\n"
PASSES = """
## The passes that a step needs

The images of each kind of pass, for B labeled and U = mu B unlabeled images. Weak views never need a graph, since they
only give targets. UDA, FixMatch, MPL and SMPL send labeled images and strong views through the network in one batch, so
that they share batch-normalization statistics; the targets come from a pass of their own. MetaSemi has no strong views
and sends mixed and weak ones in one batch; its earlier passes run in evaluation mode and in fp32. A backward pass costs
about two forward passes.

"""
COUNTED = ((32, 224, "B = 32, mu = 7"), (128, 896, "B = 128, mu = 7"))


@click.command(cls=Command)
@click.option("--out", type=click.Path(path_type=Path), default=PAGE, show_default=True, help="File of the page.")
def main(out: Path) -> None:
    """Write the page of all results."""
    write_durably(out, page().encode())


def page(results: Path = RESULTS) -> str:
    """Return the Markdown page of a folder of results."""
    records = {path: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    head = HEAD if any(record["machine"].get("gpu") for record in records.values()) else HEAD + NO_GPU
    return head + PASSES + table(_passes()) + "".join(_section(path, record) for path, record in records.items())


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as a Markdown table, with a column for each key of any row."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = ([_cell(key, row.get(key)) for key in keys] for row in rows)
    lines = [list(map(_title, keys)), ["---"] * len(keys), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _passes() -> list[dict[str, Any]]:
    rows = []
    for name, (_, needs) in CASES.items():
        for labeled, unlabeled, title in COUNTED:
            passes = needs(labeled, unlabeled)
            forward, backward = count_forward(passes), count_backward(passes)
            graphless = sum(each.images for each in passes if not each.backward)
            counts = {"forward": forward, "of these without a graph": graphless, "backward": backward}
            rows.append({"method": name, "batch": title} | counts | {"forward + 2 backward": forward + 2 * backward})
    return rows


def _section(path: Path, record: dict[str, Any]) -> str:
    machine = record["machine"]
    where = ", ".join(f"{name} {machine[name]}" for name in ("cpus", "cpu", "gpu", "torch") if machine.get(name))
    about = f"{where}; commit {record['commit']}"
    if (ending := record.get("ending", "done")) != "done":
        about += f"; **not complete: {ending}**"
    return f"\n## {path.stem}\n\n`{record['command']}`\n\n{about}\n\n{table(record['rows'])}"


def _title(key: str) -> str:
    return f"{key.removesuffix(BYTES)} MiB" if key.endswith(BYTES) else key


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key.endswith(BYTES):
        return _number(value / 2**20)
    if key in SHARES:
        return f"{100 * value:.3g} %"
    return FORMS.get(type(value), str)(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


FORMS: Mapping[type, Callable[[Any], str]] = {
    bool: lambda value: "yes" if value else "no",
    int: lambda value: f"{value:,}",
    float: _number,
    list: lambda values: " to ".join(map(_number, values)),
}
BYTES = "_bytes"
SHARES = frozenset({"data_wait", "share"})
"""Keys whose values are fractions and shown in percent."""
