"""The command ``smpl-train``: prepare the data set if needed, train, score and export, with one line.

Everything is checked and resolved here; what a rank then does is in ``pipeline/training/rank.py``.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from data_prep.cli_types import LabelNumbers
from data_prep.dataset.manifest import load_manifest
from data_prep.system.atomic_files import locked, make_folder
from data_prep.system.cli import Command
from pipeline.config.command_line import command_line, read_config
from pipeline.config.data_set import DataSet, find_folder, resolve_data
from pipeline.config.finetune import finetuned, resolve_start
from pipeline.config.schema import Config
from pipeline.distributed.launcher import choose_processes, launch
from pipeline.distributed.node_env import read_node_config
from pipeline.distributed.world import this_device
from pipeline.precision import choose_precision
from pipeline.run_folder import CONFIG, RunFolder
from pipeline.training.preflight import check_machine, check_run, check_start, check_test, recorded_recipe
from pipeline.training.rank import run_rank
from pipeline.training.results import print_if_finished, print_networks
from pipeline.training.session import score_checkpoint
from pipeline.training.time_budget import apply_budget
from pipeline.yaml_text import write_mapping

VERIFY = click.Choice(["always", "once", "never"])
LOADERS = click.Choice(["auto", "resident", "webdataset", "dali"])
PRECISIONS = click.Choice(["auto", "fp32", "bf16", "fp16"])
COMPILES = click.Choice(["auto", "off", "max"])


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 110})
@click.option("--dataset", help="Name of the data set; it is prepared first if needed.  [default: digits]")
@click.option("--method", help="Training method.  [default: the recipe's, else smpl]")
@click.option("--recipe", metavar="NAME|FILE", help="Recipe to start from.  [default: the one for data set and method]")
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
@click.option("--seed", type=int, help="Seed of weights, sample order, views and dropout.")
@click.option("--labels", type=LabelNumbers(), help="Number of labeled images; 5+1: of each class.")
@click.option("--loader", type=LOADERS, help="How samples are read; auto: resident if they fit in memory.")
@click.option("--verify", type=VERIFY, help="When a streaming loader checks sha256 sums.  [default: once]")
@click.option("--nproc", type=click.IntRange(1), help="Processes on this machine.  [default: one per GPU, or 1]")
@click.option("--test-only", "mode", flag_value="test", help="Score the newest checkpoint of --out; write nothing.")
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
    flags |= {"data": {"labels": labels}, "loader": {"name": loader, "verify": verify}}
    if mode == "test" and not finetune:
        recipe = recipe or (recorded_recipe(RunFolder(out)) if out else None)
    config = read_config(recipe, flags, settings, finetune)
    options = command_line(flags, settings).get("data", {})
    data = DataSet(None if data_dir is None else find_folder(data_dir), options, source, checksum == "on")
    out = out or (finetuned(finetune) if finetune else default_run(config))
    return MODES[mode](resolve_start(config, out), data, RunFolder(out), nproc)


def train(config: Config, data: DataSet, run: RunFolder, nproc: int | None) -> int:
    """Begin the run in a folder, or resume it; of several nodes, only the first one writes there.

    Everything is checked and resolved here, once. The ranks that are launched get the resolved configuration in a file;
    those that torchrun started run this command themselves, and the first of them does the checks.
    """
    nodes = read_node_config()
    processes = choose_processes(nproc, nodes)
    config, folder = apply_budget(config, run.path), data.folder(config)
    precision = choose_precision(config.precision, this_device())
    with ExitStack() as stack:
        if is_first():
            check_machine(config, run, nodes.count * processes)
            config = resolve_data(config, data, may_prepare=nodes.count == 1)
            if nodes.count > 1 and print_if_finished(config, load_manifest(folder), run):
                return 0
            if nodes.rank == 0:
                stack.enter_context(occupied(config, folder, run))
        config = config.model_copy(update={"precision": precision.name})
        if "RANK" in os.environ or nodes.count * processes == 1:
            return run_rank(config, folder, run)
        resolved = Path(stack.enter_context(TemporaryDirectory())) / CONFIG
        resolved.write_bytes(write_mapping(config.tree()))
        return launch("pipeline.training.rank", [str(resolved), str(folder), str(run)], processes, nodes)


@contextmanager
def occupied(config: Config, data: Path, run: RunFolder) -> Iterator[None]:
    """Keep other commands out of the run folder, and record the configuration in it.

    Raises:
        UsageError: another command is at work there, or the folder holds a run with another configuration.
        DataError: the folder cannot be written to, or its files are damaged.
    """
    check_start(config, data, run)
    make_folder(run.path)
    with locked(run.lock_file, wait=False):
        check_run(config, run)
        run.save_config(config.tree())
        yield


def test_only(config: Config, data: DataSet, run: RunFolder, nproc: int | None) -> int:
    """Score the newest checkpoint of a run; its folder does not change."""
    check_test(run, nproc)
    config, folder = apply_budget(config, run.path), data.folder(config)
    if is_first():
        config = resolve_data(config, data, may_prepare=False)
        check_run(config, run)
    return run_rank(config, folder, run, score_checkpoint)


def print_model(config: Config, data: DataSet, run: RunFolder, nproc: int | None) -> int:  # noqa: ARG001
    """Print the networks that would be trained."""
    if is_first():
        folder = data.folder(config)
        print_networks(resolve_data(config, data), folder)
    return 0


MODES: Mapping[str | None, Callable[[Config, DataSet, RunFolder, int | None], int]] = {
    None: train,
    "test": test_only,
    "print": print_model,
}
"""What the command does, by mode. Arguments: the configuration, the prepared set, the run folder, and ``--nproc``."""


def is_first() -> bool:
    """Return whether this process is the first rank of a run under torchrun, or no rank at all."""
    return os.environ.get("RANK", "0") == "0"


def default_run(config: Config) -> Path:
    """Return the run folder of a command without ``--out``."""
    return Path(os.environ.get("SMPL_RUNS", "runs")) / f"{config.dataset}-{config.method}-seed{config.seed}"


if __name__ == "__main__":
    main()
