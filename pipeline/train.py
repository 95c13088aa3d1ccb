"""The command ``smpl-train``: prepare the data set if needed, train, score and export, with one line.

This module reads the options and calls ``pipeline/training/train_command.py``, which does the work and imports torch.
"""

from pathlib import Path
from typing import Any

import click

from data_prep.cli_types import LabelNumbers
from data_prep.system.cli import Command
from data_prep.system.version import print_version
from pipeline.config.completion import complete_dataset, complete_method, complete_recipe

VERIFY = click.Choice(["always", "once", "never"])
LOADERS = click.Choice(["auto", "resident", "webdataset", "dali"])
PRECISIONS = click.Choice(["auto", "fp32", "bf16", "fp16"])
COMPILES = click.Choice(["auto", "off", "max"])


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 110})
@click.option(
    "--dataset",
    shell_complete=complete_dataset,
    help="Name of the data set; it is prepared first if needed.  [default: digits]",
)
@click.option("--method", shell_complete=complete_method, help="Training method.  [default: the recipe's, else smpl]")
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    shell_complete=complete_recipe,
    help="Recipe to start from.  [default: the one for data set and method]",
)
@click.option(
    "--finetune", type=click.Path(path_type=Path), metavar="RUN", help="Fine-tune the finished RUN on its labels."
)
@click.option("--data-dir", metavar="DIR|URL", help="Folder or URL of the prepared data set.")
@click.option("--source", type=click.Path(path_type=Path), help="The official files to prepare the data set from.")
@click.option(
    "--checksum",
    type=click.Choice(["on", "off"]),
    default="on",
    help="off: accept official files with other checksums.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder; an existing run is resumed.  [default: in $SMPL_RUNS or runs]",
)
@click.option("--steps", type=int, help="Number of training steps.")
@click.option("--budget-minutes", type=float, help="Wall-clock time of the run; sets the number of steps.")
@click.option("--batch-size", type=int, help="Labeled images per step, over all processes.")
@click.option("--mu", type=int, help="Unlabeled images for each labeled one.")
@click.option("--precision", type=PRECISIONS, help="Number format; auto: bf16 if the hardware has it, else fp32.")
@click.option("--compile", type=COMPILES, help="Compiled networks and views; auto: on one GPU; max: with CUDA graphs.")
@click.option("--accumulate", type=int, help="Micro-batches per step on each process.")
@click.option("--seed", type=int, help="Seed of weights, sample order, views and dropout; not of the split.")
@click.option("--split-seed", type=int, help="Seed of the choice of labeled images; each has a prepared set.")
@click.option("--labels", type=LabelNumbers(), help="Number of labeled images; 5+1: of each class.")
@click.option("--loader", type=LOADERS, help="How samples are read; auto: resident if they fit in memory.")
@click.option("--verify", type=VERIFY, help="When a streaming loader checks sha256 sums.  [default: once]")
@click.option("--nproc", type=click.IntRange(1), help="Processes on this machine.  [default: one per GPU, or 1]")
@click.option("--test-only", "mode", flag_value="test", help="Score the newest checkpoint of --out; write nothing.")
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=print_version, help="Print the versions."
)
@click.option("--dry-run", "mode", flag_value="dry", help="Print what would run; prepare, train and write nothing.")
@click.option("--print-model", "mode", flag_value="print", help="Print the networks and their sizes; train nothing.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set any key of a recipe, such as smpl.weight=0."
)
def main(
    recipe: str | None,
    finetune: Path | None,
    data_dir: str | None,
    source: Path | None,
    checksum: str,
    out: Path | None,
    split_seed: int | None,
    labels: int | str | None,
    loader: str | None,
    verify: str | None,
    nproc: int | None,
    mode: str | None,
    settings: tuple[str, ...],
    **flags: Any,
) -> int:
    """Train a classifier from few labels.

    Without options: SMPL on scikit-learn's digits with 20 labels. Ctrl-C or SIGTERM saves the run and ends it; the same
    command resumes it.
    """
    from pipeline.config.command_line import command_line, read_config
    from pipeline.config.data_set import DataSet, find_folder
    from pipeline.config.finetune import default_finetune_folder, resolve_start
    from pipeline.run_folder import RunFolder
    from pipeline.training.preflight import recorded_recipe
    from pipeline.training.train_command import MODES, default_run

    flags |= {"data": {"labels": labels, "seed": split_seed}, "loader": {"name": loader, "verify": verify}}
    if mode == "test" and not finetune:
        recipe = recipe or (recorded_recipe(RunFolder(out)) if out else None)
    config = read_config(recipe, flags, settings, finetune)
    options = command_line(flags, settings).get("data", {})
    out = out or (default_finetune_folder(finetune) if finetune else default_run(config))
    named = RunFolder(out).data_folder() if mode == "test" and source is None else None
    data = DataSet(find_folder(data_dir) if data_dir is not None else named, options, source, checksum == "on")
    return MODES[mode](resolve_start(config, out), data, RunFolder(out), nproc)


if __name__ == "__main__":
    main()
