"""``python -m benchmarks.gpu.curve RUN TUNED``: accuracy over minutes of training, of a run and of its fine-tuning.

The minutes are computed from ``metrics.jsonl``: each line gives the images per second since the previous one, including
evaluations and checkpoints in between. Loading the data and the final evaluation are not included.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.record import save_record
from data_prep.system.atomic_files import open_durably
from data_prep.system.cli import Command
from data_prep.system.errors import DataError, UserError
from pipeline.config.resolve import resolve
from pipeline.config.schema import Config
from pipeline.methods import METHODS
from pipeline.run_folder import RunFolder

WANTED = 94.46
"""The target: test accuracy in percent of the last averaged weights."""


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Write the rows to this JSON file and the figure beside it.",
)
def main(runs: tuple[Path, ...], out: Path) -> None:
    """Write the curve of RUNS, each of which starts where the previous one ended."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        rows += curve(run, rows[-1]["minutes"] if rows else 0.0)
    draw(out.with_suffix(".png"), rows)
    save_record(out, rows)


def curve(run: Path, offset: float) -> list[dict[str, Any]]:
    """Return a row for each evaluation of a finished run; the last row has the accuracy on the test split.

    Accuracies are in percent; the minutes start at ``offset``. Raises DataError if the run is not finished.
    """
    try:
        lines = [json.loads(line) for line in RunFolder(run).metrics_file.read_text().splitlines()]
        summary = RunFolder(run).summary()
    except (OSError, ValueError, UserError) as error:
        raise DataError(f"{run} is not a finished run: {error}") from None
    times = dict(minutes_of(lines, _images_per_step(run)))
    latest = {(line["step"], line["group"]): line for line in lines}  # a resumed run may repeat steps
    rows = [
        {"run": run.name, "step": step, "minutes": round(offset + _minutes_at(times, step), 3), "val": line["accuracy"]}
        for (step, group), line in sorted(latest.items())
        if group == "val/ema"
    ]
    end = {"run": run.name, "step": summary.steps, "minutes": round(offset + max(times.values()), 3)}
    return [*rows, end | {"test": summary.test_accuracy}]


def draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw accuracy over minutes: the validation split as lines, the test split as points."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    for number, name in enumerate(dict.fromkeys(row["run"] for row in rows)):
        for kind, style in (("val", "-"), ("test", "o")):
            own = [(row["minutes"], row[kind]) for row in rows if row["run"] == name and kind in row]
            axes.plot(*zip(*own, strict=True), style, color=f"C{number}", label=f"{name}, {kind}") if own else None
    axes.axhline(WANTED, color="gray", linewidth=0.8, linestyle="--")
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("accuracy of the averaged weights, %")
    axes.legend()
    with open_durably(path) as file:
        figure.savefig(file, format="png", dpi=120, bbox_inches="tight")


def _images_per_step(run: Path) -> int:
    """Return the images per step that ``images_per_s`` of a run counts."""
    config: Config = resolve(RunFolder(run).config(), {})
    return config.batch_size * (1 + config.mu * bool(METHODS.load(config.method).views))


def minutes_of(lines: Sequence[dict[str, Any]], images: int) -> Iterator[tuple[int, float]]:
    """Yield each logged step with the minutes from the start of the run to it."""
    rates = {line["step"]: line["images_per_s"] for line in lines if line["group"] == "train"}
    before, seconds = 0, 0.0
    for step in sorted(rates):
        seconds += (step - before) * images / rates[step]
        before = step
        yield step, seconds / 60


def _minutes_at(times: dict[int, float], step: int) -> float:
    """Return the minutes at the first logged step from ``step`` on."""
    return next((times[logged] for logged in sorted(times) if logged >= step), max(times.values()))


if __name__ == "__main__":
    main()
