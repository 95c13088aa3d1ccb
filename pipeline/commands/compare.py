"""The command ``smpl compare``: train methods x seeds on one data set and tabulate their accuracy."""

import logging
from pathlib import Path

import click

from data_prep.system.atomic_files import make_folder
from data_prep.system.cli import Command
from data_prep.system.workers import available_cpus
from pipeline.config.completion import complete_dataset, complete_recipe

logger = logging.getLogger(__name__)


@click.command(cls=Command, context_settings={"show_default": True})
@click.option(
    "--dataset", shell_complete=complete_dataset, help="Name of the data set.  [default: the recipe's, else digits]"
)
@click.option(
    "--methods",
    metavar="ROWS",
    default="supervised,uda,mpl,smpl",
    help="Rows of the table: METHOD[:KEY=VALUE]..., separated by commas; KEY=[A,B] is one value.",
)
@click.option("--source", type=click.Path(path_type=Path), help="The raw images, as for smpl-train.")
@click.option("--ablate-meta", is_flag=True, help="Train each row without its meta term too, and say what it is worth.")
@click.option("--seeds", default=5, type=click.IntRange(1), help="Runs of each method; every seed has its own labels.")
@click.option("--first-seed", default=0, type=click.IntRange(0), help="First seed; choose settings on other seeds.")
@click.option(
    "--split",
    default="test",
    type=click.Choice(["val", "test"]),
    help="Split of the tabulated accuracy; val to choose settings.",
)
@click.option("--steps", type=click.IntRange(1), help="Training steps.  [default: the recipe's]")
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    shell_complete=complete_recipe,
    help="Settings of all runs.  [default: found by data set]",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of a recipe, for all runs.")
@click.option("--jobs", type=click.IntRange(1), help="Runs at a time.  [default: one for each CPU]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder; the same one again resumes.")
def main(
    dataset: str | None,
    methods: str,
    source: Path | None,
    ablate_meta: bool,
    seeds: int,
    first_seed: int,
    split: str,
    steps: int | None,
    recipe: str | None,
    settings: tuple[str, ...],
    jobs: int | None,
    out: Path,
) -> int:
    """Train every method with every seed and tabulate accuracy: mean and standard deviation.

    Accuracy is that of the averaged weights after the last step. A run that fails does not end the others. To choose
    settings, take --split val and a --first-seed beyond the seeds of the final table: then the table shows no test
    accuracy, and no seed is used twice. Each run still scores its test split into its own summary.json.
    """
    from pipeline.comparison.runner import train_all
    from pipeline.comparison.runs import SharedOptions, plan_runs
    from pipeline.comparison.table import write_table
    from pipeline.comparison.variants import read_variants

    shared = SharedOptions(dataset, steps, recipe, settings, source, split)
    variants = read_variants(methods, ablate_meta, shared.config)
    runs = plan_runs(variants, range(first_seed, first_seed + seeds), out)
    for variant in variants:
        if beyond := shared.config(variant).lengths_beyond_the_run():
            logger.warning("%s: the run ends before %s; set fewer steps there", variant.name, ", ".join(beyond))
    make_folder(out)
    failed = train_all(runs, shared.arguments(), jobs or available_cpus())
    finished = ((run.variant.name, run.seed, run.accuracy(split)) for run in runs if run not in failed)
    scores = [(name, seed, accuracy) for name, seed, accuracy in finished if accuracy is not None]
    write_table(out, scores, split, {variant.name: variant.ablation for variant in variants if variant.ablation})
    click.echo((out / "results.md").read_text())
    for run in failed:
        logger.error("failed: %s, seed %s; see %s", run.variant.name, run.seed, run.log_file)
    return 1 if failed else 0


if __name__ == "__main__":
    main()
