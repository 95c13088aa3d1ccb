"""The command ``smpl-train``: one line from a data set's name to a trained model."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from data_prep.cli_types import LabelNumbers
from data_prep.system.atomic_files import locked, make_folder
from data_prep.system.cli import Command
from pipeline.config.command_line import command_line, read_config
from pipeline.config.finetune import finetuned, settle_start
from pipeline.config.schema import Config
from pipeline.distributed.launcher import choose_processes, launch, launched
from pipeline.distributed.node_env import find_nodes
from pipeline.run_folder import RunFolder
from pipeline.training.preflight import (
    DataSet,
    check_machine,
    check_run,
    check_start,
    check_test,
    find_folder,
    own_recipe,
    settle_data,
)
from pipeline.training.results import show_networks, tell_result
from pipeline.training.session import run_rank, score_checkpoint
from pipeline.training.time_budget import settle_budget

VERIFY = click.Choice(["always", "once", "never"])
LOADERS = click.Choice(["auto", "resident", "webdataset", "dali"])
PRECISIONS = click.Choice(["auto", "fp32", "bf16", "fp16"])
COMPILES = click.Choice(["auto", "off", "max"])


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 110})
@click.option("--dataset", help="Name of the data set; it is prepared first if it is not yet.  [default: digits]")
@click.option("--method", help="Training method.  [default: the recipe's, else smpl]")
@click.option("--recipe", metavar="NAME|FILE", help="Settings to start from.  [default: found by data set and method]")
@click.option("--finetune", type=click.Path(path_type=Path), metavar="RUN", help="Fine-tune RUN on its labeled images.")
@click.option("--data-dir", metavar="DIR|URL", help="Folder of the prepared data set, or where it is served.")
@click.option("--source", type=click.Path(path_type=Path), help="The data set's official files, to prepare it from.")
@click.option("--checksum", type=click.Choice(["on", "off"]), default="on", help="off: those may be any bytes.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder; the same one again resumes.  [default: in $SMPL_RUNS or runs]",
)
@click.option("--steps", type=int, help="Training steps.")
@click.option("--budget-minutes", type=float, help="Wall clock of the whole run; the steps are fitted to it.")
@click.option("--batch-size", type=int, help="Labeled images a step, over all processes.")
@click.option("--mu", type=int, help="Unlabeled images for each labeled one.")
@click.option("--precision", type=PRECISIONS, help="Number format; auto is bf16 where the hardware has it.")
@click.option("--compile", type=COMPILES, help="Compiled networks and views; auto: on a GPU; max: also CUDA graphs.")
@click.option("--accumulate", type=int, help="Micro-batches a step on each process.")
@click.option("--seed", type=int, help="Of weights, order, views and dropout.")
@click.option("--labels", type=LabelNumbers(), help="Labeled images of the prepared data set; 5+1: of each class.")
@click.option("--loader", type=LOADERS, help="How samples come to the device; auto: resident if they fit.")
@click.option("--verify", type=VERIFY, help="When a stream checks the sha256 of its shards.  [default: once]")
@click.option("--nproc", type=click.IntRange(1), help="Processes on this machine.  [default: one a GPU, or 1]")
@click.option("--test-only", "mode", flag_value="test", help="Score the newest checkpoint of --out; write nothing.")
@click.option("--print-model", "mode", flag_value="print", help="Print the networks and their sizes; train nothing.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of a recipe: smpl.weight=0.")
def main(
    recipe: str | None,
    finetune: Path | None,
    data_dir: str | None,
    source: Path | None,
    checksum: str,
    out: Path | None,
    labels: int | str | None,
    loader: str | None,
    verify: str | None,
    nproc: int | None,
    mode: str | None,
    settings: tuple[str, ...],
    **flags: Any,
) -> int:
    """Train a classifier from few labels.

    With no argument: SMPL on scikit-learn's digits with 20 labels. Ctrl-C or SIGTERM saves; the same command resumes.
    """
    flags |= {"data": {"labels": labels}, "loader": {"name": loader, "verify": verify}}
    if mode == "test" and not finetune:
        recipe = recipe or (own_recipe(RunFolder(out)) if out else None)
    config = read_config(recipe, flags, settings, finetune)
    given = command_line(flags, settings).get("data", {})
    data = DataSet(None if data_dir is None else find_folder(data_dir), given, source, checksum == "on")
    out = out or (finetuned(finetune) if finetune else default_run(config))
    return MODES[mode](settle_start(config, out), data, RunFolder(out), nproc)


def train(config: Config, data: DataSet, out: RunFolder, nproc: int | None) -> int:
    """Start the run in ``out``, or go on with it; of several nodes, only the first one writes there."""
    folder, nodes = data.folder(config), find_nodes()
    processes = choose_processes(nproc, nodes)
    config = settle_budget(config, out.path)
    with ExitStack() as stack:
        home = out
        if is_main():
            check_machine(config, out, nodes.count * processes)
            config = settle_data(config, data, may_prepare=nodes.count == 1)
            if nodes.count > 1 and tell_result(config, folder, out):
                return 0
            if nodes.rank:
                home = RunFolder(Path(stack.enter_context(TemporaryDirectory())))
            else:
                _claim(config, folder, out, stack)
            home.save_config(config.tree())
        if "RANK" not in os.environ and nodes.count * processes > 1:
            own = ["--recipe", str(home.config_file), "--data-dir", str(folder), "--out", str(out)]
            return launch("pipeline.train", own, processes, nodes)
        return run_rank(config, folder, out)


def _claim(config: Config, data: Path, out: RunFolder, stack: ExitStack) -> None:
    """Make the run folder this command's own, until the stack unwinds. Raises UserError."""
    check_start(config, data, out)
    make_folder(out.path)
    if not launched():
        stack.enter_context(locked(out.lock_file, wait=False))
    check_run(config, out)


def test_only(config: Config, data: DataSet, out: RunFolder, nproc: int | None) -> int:
    """Score the newest checkpoint in ``out``; the folder stays as it is."""
    check_test(out, nproc)
    config = settle_budget(config, out.path)
    if is_main():
        config = settle_data(config, data, may_prepare=False)
        check_run(config, out)
    return run_rank(config, data.folder(config), out, score_checkpoint)


def print_model(config: Config, data: DataSet, out: RunFolder, nproc: int | None) -> int:  # noqa: ARG001
    """Show what would be trained."""
    if is_main():
        config = settle_data(config, data)
        show_networks(config, data.folder(config))
    return 0


MODES: Mapping[str | None, Callable[[Config, DataSet, RunFolder, int | None], int]] = {
    None: train,
    "test": test_only,
    "print": print_model,
}
"""What the command does: with a configuration, the prepared set, the folder of the run, and the number of processes
that was asked for."""


def is_main() -> bool:
    """Return whether this process is the first of its run, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def default_run(config: Config) -> Path:
    return Path(os.environ.get("SMPL_RUNS", "runs")) / f"{config.dataset}-{config.method}-seed{config.seed}"


if __name__ == "__main__":
    main()
