"""What ``smpl-train`` does once it has read its options: train, score a checkpoint, or print what would run.

Everything is checked and resolved here; what a rank then does is in ``rank.py``.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from data_prep.dataset.manifest import load_manifest
from data_prep.system.atomic_files import locked, make_folder
from data_prep.system.errors import UsageError
from pipeline.config.data_set import DataSet, resolve_data
from pipeline.config.schema import Config
from pipeline.distributed.launcher import choose_processes, launch
from pipeline.distributed.node_env import read_node_config
from pipeline.distributed.world import this_device
from pipeline.precision import choose_precision
from pipeline.run_folder import CONFIG, RunFolder
from pipeline.training.dry_run import describe_run
from pipeline.training.preflight import check_machine, check_run, check_start, check_test
from pipeline.training.rank import end_rank, run_rank
from pipeline.training.results import print_if_finished, print_networks
from pipeline.training.session import score_checkpoint
from pipeline.training.time_budget import apply_budget
from pipeline.yaml_text import write_mapping


def train(config: Config, data: DataSet, run: RunFolder, nproc: int | None) -> int:
    """Begin or resume the run in a folder; return the exit code. If there are several nodes, only node 0 writes there.

    Ranks that this command launches read the resolved configuration from a file. Ranks that torchrun started run this
    command themselves, and the first of them does the checks.
    """
    nodes = read_node_config()
    processes = choose_processes(nproc, nodes)
    data.refuse_run_inside_source(run.path, config.dataset)
    config, folder = apply_budget(config, run.path), data.folder(config)
    try:
        precision = choose_precision(config.precision, this_device())
    except UsageError as error:
        return end_rank(error)
    with ExitStack() as stack:
        if is_first():
            check_machine(config, run, nodes.count * processes)
            config = resolve_data(config, data, may_prepare=nodes.count == 1)
            if nodes.count > 1 and print_if_finished(config, load_manifest(folder), run):
                return 0
            if nodes.rank == 0:
                stack.enter_context(locked_run_folder(config, folder, run))
        config = config.model_copy(update={"precision": precision.name})
        if "RANK" in os.environ or nodes.count * processes == 1:
            return run_rank(config, folder, run)
        resolved = Path(stack.enter_context(TemporaryDirectory())) / CONFIG
        resolved.write_bytes(write_mapping(config.tree()))
        arguments = ["--", str(resolved), str(folder), str(run)]  # a folder's name may begin with a dash
        return launch("pipeline.training.rank", arguments, processes, nodes)


@contextmanager
def locked_run_folder(config: Config, data: Path, run: RunFolder) -> Iterator[None]:
    """Return a context that locks the run folder against other commands; the configuration is recorded in it first.

    Raises:
        UsageError: another command is at work there, or the folder holds a run with another configuration.
        DataError: the folder cannot be written to, or its files are damaged.
    """
    check_start(config, data, run)
    make_folder(run.path)
    with locked(run.lock_file, wait=False):
        check_run(config, run)
        run.save_config(config.tree())
        run.save_data_folder(data)
        yield


def test_only(config: Config, data: DataSet, run: RunFolder, nproc: int | None) -> int:
    """Score the newest checkpoint of a run, without a change to its folder; return the exit code."""
    check_test(run, nproc)
    config, folder = apply_budget(config, run.path), data.folder(config)
    if is_first():
        config = resolve_data(config, data, may_prepare=False)
        check_run(config, run)
    return run_rank(config, folder, run, score_checkpoint)


def dry_run(config: Config, data: DataSet, run: RunFolder, nproc: int | None) -> int:
    """Print what would run, without a change to any folder; return the exit code."""
    nodes = read_node_config()
    processes = nodes.count * choose_processes(nproc, nodes)
    data.refuse_run_inside_source(run.path, config.dataset)
    if is_first():
        for line in describe_run(apply_budget(config, run.path), data, run, processes):
            click.echo(line)
    return 0


def print_model(config: Config, data: DataSet, run: RunFolder, nproc: int | None) -> int:  # noqa: ARG001
    """Print the networks that would be trained."""
    if is_first():
        folder = data.folder(config)
        print_networks(resolve_data(config, data), folder)
    return 0


MODES: Mapping[str | None, Callable[[Config, DataSet, RunFolder, int | None], int]] = {
    None: train,
    "test": test_only,
    "dry": dry_run,
    "print": print_model,
}
"""The function of each mode of the command; without such an option the mode is None.

Each gets the configuration, the prepared set, the run folder and ``--nproc``, and returns the exit code.
"""


def is_first() -> bool:
    """Return whether this process does the checks: it is rank 0, or the command itself and no rank."""
    return os.environ.get("RANK", "0") == "0"


def default_run(config: Config) -> Path:
    """Return the folder of a run that is started without ``--out``."""
    return Path(os.environ.get("SMPL_RUNS", "runs")) / f"{config.dataset}-{config.method}-seed{config.seed}"
