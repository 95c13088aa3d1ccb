"""One rank of a run: it joins the process group, does its job, and turns errors into one line and an exit code.

The launcher starts ``python -m pipeline.training.rank CONFIG DATA RUN`` on every rank. CONFIG is the resolved
configuration that the command wrote, so a rank does not repeat its checks.
"""

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from data_prep.dataset.manifest import load_manifest
from data_prep.system.cli import STOPPED, Command
from data_prep.system.errors import UsageError, UserError
from data_prep.system.signal_handlers import Stopped
from pipeline.config.resolve import flatten, resolve
from pipeline.config.schema import Config
from pipeline.distributed.launcher import LOST_PEER, is_launched
from pipeline.distributed.world import World, exit_at_once, is_lost_peer, is_port_in_use, join_world, leave_world
from pipeline.run_folder import RunFolder
from pipeline.training.compilation import compile_failure
from pipeline.training.nonfinite_guard import NonFiniteError
from pipeline.training.session import train
from pipeline.training.time_budget import apply_budget
from pipeline.training.trainer import StoppedError
from pipeline.yaml_text import read_mapping

logger = logging.getLogger(__name__)

SHOWN_IDS = 3
"""The number of sample ids of each split in the line about a gradient that is not finite; ``-v`` shows all."""
Job = Callable[[Config, Path, RunFolder, World], None]
"""What a rank does, given a configuration, the folder of the prepared set, a run folder and the world of all ranks."""


@click.command(cls=Command)
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("run", type=click.Path(path_type=Path))
def main(config: Path, data: Path, run: Path) -> int:
    """Train with the configuration in the file CONFIG on the prepared set DATA in the run folder RUN."""
    resolved = resolve(read_mapping(config, str(config)), {})
    return run_rank(apply_budget(resolved, run), data, RunFolder(run))


def run_rank(config: Config, data: Path, run: RunFolder, job: Job | None = None) -> int:
    """Do a job in a run folder, by default training; return the exit code of this rank.

    Raises:
        UserError: the prepared set or every checkpoint is damaged, or the folder cannot be written to. Ranks that do
            not report errors return the exit code instead.
        Stopped: a signal arrived before training could handle it. Only a rank that reports raises it.
    """
    try:
        return _run(job or partial(train, began=time.perf_counter()), config, data, run, join_world())
    except RuntimeError as error:
        if problem := compile_failure(error):
            return end_rank(UsageError(problem))
        if is_port_in_use(error):
            port = os.environ.get("MASTER_PORT")
            raise UserError(f"port {port} is in use; set MASTER_PORT to a free one on every rank") from None
        if not is_lost_peer(error):
            raise
        logger.warning("another process has ended: %s", str(error).partition("\n")[0].partition(". ")[0])
        exit_at_once(LOST_PEER if is_launched() else 1)
    except Stopped:
        if _reports():
            raise
        return STOPPED
    finally:
        leave_world()


def _run(job: Job, config: Config, data: Path, run: RunFolder, world: World) -> int:
    try:
        check_agreement(config, data, world)
        job(config, data, run, world)
    except UserError as error:
        if error.shared:
            return end_rank(error)
        raise error if world.main else type(error)(f"rank {world.rank}: {error}") from None
    except StoppedError:
        if _reports():
            logger.info("stopped and saved; the same command resumes")
        return STOPPED
    except NonFiniteError as error:
        logger.debug("%s; sample ids of its batch: %s", error, error.sample_ids)
        return end_rank(UserError(explain(error, run)))
    return 0


def explain(error: NonFiniteError, run: RunFolder) -> str:
    """Return the line about a gradient that is not finite: the remedy, what the run keeps, the first sample ids."""
    steps = run.checkpoints.steps()
    kept = f"{run} keeps the checkpoint of step {steps[-1]}" if steps else f"{run} has no checkpoint yet"
    first = [f"{split} {', '.join(map(str, ids[:SHOWN_IDS]))}" for split, ids in error.sample_ids.items()]
    samples = f"; first sample ids of its batch: {', '.join(first)}" if first else ""
    return f"{error}; lower optimizer.lr or set optimizer.clip; {kept}{samples}"


def check_agreement(config: Config, data: Path, world: World) -> None:
    """Refuse ranks that were started with different configurations or data.

    The data options are compared by the fingerprint of the set, since under torchrun only rank 0 has read them from it.

    Raises:
        UsageError: a key of the configuration, or the prepared data, differ.
        DataError: the manifest is missing or damaged.
    """
    manifest = world.run_on_all(lambda: load_manifest(data))
    keys = {key: value for key, value in flatten(config.tree()).items() if not key.startswith("data.")}
    settings = world.gather(keys | {"data": manifest.fingerprint[:12]})
    for rank, other in enumerate(settings):
        for key in settings[0].keys() | other.keys():
            first, here = settings[0].get(key), other.get(key)
            if first != here:
                problem = f"{key} is {first} on rank 0, {here} on rank {rank}"
                error = UsageError(f"{problem}; start every node with the same command and the same data")
                error.shared = True
                raise error


def end_rank(error: UserError) -> int:
    """Return the exit code for an error that occurred on every rank; raise it on the ranks that report it."""
    if _reports():
        raise error
    return error.exit_code


def _reports() -> bool:
    """Return whether this rank reports the errors that all ranks have: it is the first of its node."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


if __name__ == "__main__":
    main()
