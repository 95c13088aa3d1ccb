"""The table of a comparison, methods x seeds: as CSV, as Markdown and as a figure."""

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data_prep.system.atomic_files import write_durably

Scores = Iterable[tuple[str, int, float]]
"""Name of the variant, seed, and accuracy in percent, of each finished run."""


def write_table(out: Path, scores: Scores, split: str = "test") -> None:
    """Write results.csv with a line for each run, and results.md and results.png with a row for each variant.

    The accuracies are those on ``split``.
    """
    finished = list(scores)
    with (out / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "seed", f"{split}_accuracy"])
        writer.writerows([name, seed, f"{accuracy:.4f}"] for name, seed, accuracy in finished)
    rows: dict[str, list[float]] = {}
    for name, _, accuracy in finished:
        rows.setdefault(name, []).append(accuracy)
    lines = [f"| method | {split} accuracy % | seeds |", "|---|---|---|"]
    lines += [
        f"| {name} | {statistics.mean(row):.2f} ± {_deviation(row):.2f} | {len(row)} |" for name, row in rows.items()
    ]
    write_durably(out / "results.md", ("\n".join(lines) + "\n").encode())
    _draw(out / "results.png", rows, split)


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _draw(path: Path, rows: Mapping[str, list[float]], split: str) -> None:
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 0.6 * len(rows) + 1))
    names = list(rows)[::-1]
    means, deviations = [statistics.mean(rows[n]) for n in names], [_deviation(rows[n]) for n in names]
    axes.barh(names, means, xerr=deviations, color="0.7", capsize=4)
    for row, name in enumerate(names):
        axes.plot(rows[name], [row] * len(rows[name]), "k.", markersize=5)
    accuracies = [accuracy for row in rows.values() for accuracy in row] or [0.0]
    axes.set_xlim(max(0.0, min(accuracies) - 5), 100)
    axes.set_xlabel(f"{split} accuracy, % (bars: mean and standard deviation; dots: seeds)")
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
