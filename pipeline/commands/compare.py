"""The command ``smpl compare``: methods x seeds on one data set, as one table."""

from pathlib import Path

import click

from data_prep.system.atomic_files import make_folder
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from data_prep.system.workers import available_cpus
from pipeline.comparison.rows import Variant, read_rows, refuse_fixed
from pipeline.comparison.runner import Cell, run_all
from pipeline.comparison.table import write_table
from pipeline.config.command_line import read_config
from pipeline.config.schema import Config


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--dataset", help="Name of the data set.  [default: the recipe's, else digits]")
@click.option(
    "--methods",
    metavar="ROWS",
    default="supervised,uda,mpl,smpl",
    help="Rows: METHOD[:KEY=VALUE]..., separated by commas; KEY=[A,B] is one value.",
)
@click.option("--ablate-meta", is_flag=True, help="Add a row without the meta term for each method that has one.")
@click.option("--seeds", default=5, type=click.IntRange(1), help="Runs of each method; every seed has its own labels.")
@click.option("--steps", type=click.IntRange(1), help="Training steps.  [default: the recipe's]")
@click.option("--recipe", metavar="NAME|FILE", help="Settings for all runs.  [default: found by data set]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of a recipe, for all runs.")
@click.option("--jobs", type=click.IntRange(1), help="Runs at a time.  [default: one a CPU]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder; the same one again goes on.")
def main(
    dataset: str | None,
    methods: str,
    ablate_meta: bool,
    seeds: int,
    steps: int | None,
    recipe: str | None,
    settings: tuple[str, ...],
    jobs: int | None,
    out: Path,
) -> int:
    """Train every method with every seed and tabulate test accuracy: mean and standard deviation.

    Test accuracy is that of the averaged weights after the last step. A run that fails does not end the others.
    """
    refuse_fixed(settings, "--set")

    def resolved(variant: Variant) -> Config:
        flags = {"dataset": dataset, "method": variant.method, "steps": steps}
        config = read_config(recipe, flags, (*settings, *variant.settings))
        if config.budget_minutes is not None:
            raise UsageError("budget_minutes: runs of a comparison need the same length; give --steps")
        return config

    variants = read_rows(methods, ablate_meta, resolved)
    make_folder(out)
    cells = [Cell(variant, seed, out / variant.folder / f"seed{seed}") for variant in variants for seed in range(seeds)]
    shared = [f"--set={setting}" for setting in settings]
    for flag, value in {"--dataset": dataset, "--steps": steps, "--recipe": recipe}.items():
        shared += [flag, str(value)] if value is not None else []
    failed = run_all(cells, shared, jobs or available_cpus())
    ended = [cell for cell in cells if cell not in failed and cell.accuracy is not None]
    write_table(out, ((cell.variant.name, cell.seed, cell.accuracy or 0.0) for cell in ended))
    click.echo((out / "results.md").read_text())
    for cell in failed:
        click.echo(f"failed: {cell.variant.name}, seed {cell.seed}; see {cell.folder / 'log.txt'}", err=True)
    return 1 if failed else 0


if __name__ == "__main__":
    main()
