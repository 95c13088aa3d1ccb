"""The command ``smpl descent``: SMPL's two steps beside one supervised step, on the true loss of the moons."""

from pathlib import Path

import click

from data_prep.system.atomic_files import make_folder
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError

STARTS = (0, 5, 20, 50, 200)
"""Numbers of supervised steps after which descents are measured, in addition to the number that is drawn."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--recipe", metavar="NAME|FILE", default="moons", help="Settings of network, batch and learning rate.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of a recipe: data.labels=5+1.")
@click.option("--seeds", default=20, type=click.IntRange(1), help="Seeds to measure; each has its own labels.")
@click.option("--seed", default=0, type=click.IntRange(0), help="The seed that is drawn.")
@click.option("--start", default=5, type=click.IntRange(0), help="Supervised steps before the descent that is drawn.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Rate of the measured steps.  [default: the recipe's]"
)
@click.option("--out", type=click.Path(path_type=Path), default="descent.png", help="The file of the picture.")
def main(
    recipe: str, settings: tuple[str, ...], seeds: int, seed: int, start: int, rate: float | None, out: Path
) -> None:
    """Draw one step of SMPL and one supervised step that start from the same weights.

    Count, over several seeds, how often each of them lowers the loss of all training points with their true labels.
    Missing sets are prepared first.
    """
    from pipeline.figures.descent_study import measure_seeds
    from pipeline.figures.moons import moons_config

    if seed >= seeds:
        raise UsageError(f"--seed {seed}: seeds 0 to {seeds - 1} are measured; raise --seeds")
    configs = [moons_config(recipe, settings, number) for number in range(seeds)]
    study = measure_seeds(configs, {start, *STARTS}, rate or configs[0].optimizer.lr)
    make_folder(out.resolve().parent)
    study.draw(out, seed, start)
    click.echo("\n".join([*study.lines(seed, start), "", str(out)]))


if __name__ == "__main__":
    main()
