"""The table of a comparison, methods x seeds: as CSV, as Markdown and as a figure."""

import csv
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data_prep.system.atomic_files import write_durably

Scores = Iterable[tuple[str, int, float]]
"""Name of the variant, seed, and accuracy in percent, of each finished run."""
Row = Mapping[int, float]
"""Accuracy by seed."""
Rows = dict[str, dict[int, float]]
"""Accuracy by seed, by the name of the variant."""


def write_table(out: Path, scores: Scores, split: str, ablations: Mapping[str, str]) -> None:
    """Write results.csv with a line for each run, and results.md and results.png with a row for each variant.

    Args:
        out: an existing folder.
        scores: the accuracies on ``split``.
        split: the name of the split.
        ablations: for each variant that has one, the name of the variant without its meta term. results.md shows both
            in one row, with the mean of their differences over the seeds and its standard error.
    """
    finished = list(scores)
    with (out / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "seed", f"{split}_accuracy"])
        writer.writerows([name, seed, f"{accuracy:.4f}"] for name, seed, accuracy in finished)
    rows: Rows = {}
    for name, seed, accuracy in finished:
        rows.setdefault(name, {})[seed] = accuracy
    write_durably(out / "results.md", ("\n".join(table_lines(rows, split, ablations)) + "\n").encode())
    _draw(out / "results.png", rows, split)


def table_lines(rows: Mapping[str, Row], split: str, ablations: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of results.md; without ablations the table has no columns for them.

    An ablation has a line of its own only if no run of the variant that it belongs to has finished.
    """
    columns = ["without its meta term", "worth, points"] if ablations else []
    yield " | ".join(["| method", f"{split} accuracy %", *columns, "seeds |"])
    yield "|---" * (len(columns) + 3) + "|"
    shown_with = {ablation for name, ablation in ablations.items() if name in rows}
    for name in rows:
        if name in shown_with:
            continue
        without = rows.get(ablations.get(name, ""), {})
        more = [_mean(without.values()), _worth(rows[name], without)] if ablations else []
        yield " | ".join([f"| {name}", _mean(rows[name].values()), *more, f"{len(rows[name])} |"])


def _mean(values: Collection[float]) -> str:
    """Return mean ± standard deviation; a single value has none."""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}" if values else ""


def _worth(row: Row, without: Row) -> str:
    """Return the mean difference over the seeds that both rows have, and its standard error if there are several."""
    differences = [row[seed] - without[seed] for seed in row.keys() & without.keys()]
    if not differences:
        return ""
    error = f" ± {statistics.stdev(differences) / len(differences) ** 0.5:.2f}" if len(differences) > 1 else ""
    missing = f" ({len(differences)} seeds)" if len(differences) < max(len(row), len(without)) else ""
    return f"{statistics.mean(differences):+.2f}{error}{missing}"


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _draw(path: Path, rows: Mapping[str, Row], split: str) -> None:
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 0.6 * len(rows) + 1))
    names = list(rows)[::-1]
    scores = {name: list(rows[name].values()) for name in names}
    means, deviations = [statistics.mean(scores[n]) for n in names], [_deviation(scores[n]) for n in names]
    axes.barh(names, means, xerr=deviations, color="0.7", capsize=4)
    for row, name in enumerate(names):
        axes.plot(scores[name], [row] * len(scores[name]), "k.", markersize=5)
    accuracies = [accuracy for row in scores.values() for accuracy in row] or [0.0]
    axes.set_xlim(max(0.0, min(accuracies) - 5), 100)
    axes.set_xlabel(f"{split} accuracy, % (bars: mean and standard deviation; dots: seeds)")
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
