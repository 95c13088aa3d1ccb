"""The command ``smpl descent``: SMPL's two steps beside one supervised step, on the true loss of the moons."""

from collections.abc import Sequence
from pathlib import Path

import click

from data_prep.dataset.manifest import load_manifest
from data_prep.system.atomic_files import make_folder
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from pipeline.config.command_line import read_config
from pipeline.config.data_set import DataSet, default_folder, resolve_data
from pipeline.config.schema import Config
from pipeline.data.training_splits import TrainingData, load_training_data
from pipeline.figures.descent import SINGLE_PROCESS, Descent, TrueLoss, count, measure
from pipeline.figures.loss_surface import draw_descent

STARTS = (0, 5, 20, 50, 200)
"""Numbers of supervised steps after which the descents are counted, besides the one that is drawn."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--recipe", metavar="NAME|FILE", default="moons", help="Settings of network, batch and rate.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of a recipe: data.labels=5+1.")
@click.option("--seeds", default=20, type=click.IntRange(1), help="Seeds that are counted; each has its own labels.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Which of them is drawn.")
@click.option("--start", default=5, type=click.IntRange(0), help="Supervised steps before the descent that is drawn.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Of the measured steps.  [default: the recipe's]")
@click.option("--out", type=click.Path(path_type=Path), default="descent.png", help="The picture's file.")
def main(
    recipe: str, settings: tuple[str, ...], seeds: int, seed: int, start: int, rate: float | None, out: Path
) -> None:
    """Draw one step of SMPL and one supervised step from the same weights, and count over seeds where they lead.

    They are measured on the loss of all training points with their true labels. Sets not yet prepared are.
    """
    if seed >= seeds:
        raise UsageError(f"--seed {seed}: seeds 0 to {seeds - 1} are counted; raise --seeds")
    configs = [configure(recipe, settings, number) for number in range(seeds)]
    rate = rate or configs[0].optimizer.lr
    starts = {start, *STARTS}
    found = [list(measure(config, load_points(config), starts, rate)) for config in configs]
    tallies = {one[0].start: count(one) for one in zip(*found, strict=True)}
    drawn = next(descent for descent in found[seed] if descent.start == start)
    title = heading(configs[seed], start, rate)
    truths = ", ".join(f"{claim} {number}" for claim, number in tallies[start].items())
    make_folder(out.resolve().parent)
    loss = TrueLoss(configs[seed], load_points(configs[seed]))
    draw_descent(out, drawn, loss, [title, f"how many of {seeds} seeds: {truths}"])
    click.echo("\n".join([title, *lines(drawn), "", *table(tallies, seeds), "", str(out)]))


def configure(recipe: str, settings: Sequence[str], seed: int) -> Config:
    """Return the settings of one seed, of its labels and weights alike; its set is prepared if it is not yet.

    Raises:
        UsageError: they are wrong, or of another data set than moons.
    """
    config = read_config(recipe, {}, (*settings, "method=smpl", f"seed={seed}", f"data.seed={seed}"))
    if config.dataset != "moons":
        raise UsageError(f"recipe {recipe} is for {config.dataset}; a descent is drawn on moons: leave --recipe out")
    return resolve_data(config, DataSet())


def load_points(config: Config) -> TrainingData:
    folder = default_folder(config)
    return load_training_data(folder, load_manifest(folder), SINGLE_PROCESS, unlabeled=True)


def heading(config: Config, start: int, rate: float) -> str:
    steps = f"after {start} supervised steps, rate {rate:g}"
    return f"Moons, {config.data.labels} labels, seed {config.seed}, {steps}: true loss of all training points"


def lines(descent: Descent) -> list[str]:
    """Return a line on each of the three steps."""
    before, supervised, first, second = descent.losses
    steps = {"supervised step": (before, supervised), "SMPL, step 1": (before, first), "SMPL, step 2": (first, second)}
    return [f"{name}: {a:.4f} to {b:.4f}, {'up' if b > a else 'down'}" for name, (a, b) in steps.items()]


def table(tallies: dict[int, dict[str, int]], seeds: int) -> list[str]:
    """Return a Markdown table: a row for each start, of how many ``seeds`` each claim is true."""
    names = next(iter(tallies.values()))
    head = [f"| start (seeds: {seeds}) | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    return head + [f"| {start} | " + " | ".join(map(str, tally.values())) + " |" for start, tally in tallies.items()]


if __name__ == "__main__":
    main()
