"""Start the ranks: torchrun's agent inside this process, so that signals and exit codes keep their meaning.

torchrun exits with 1 whatever its workers said. Here the agent's error is read instead: a worker's own exit code is
passed on, and only a worker that was *killed* is worth another try, since an error would come again.
"""

import logging
import os
import signal
import tempfile
from argparse import Namespace
from pathlib import Path

import click
import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args
from torch.distributed.run import run as run_agent

from data_prep.errors import UsageError

RESTARTS = 3
STOPPED = 4
INTERRUPTED = 1
OUTCOME = "SMPL_OUTCOME"
"""Environment variable naming the file in which rank 0 notes its exit code."""


def choose_processes(asked: int | None) -> int:
    """Return the number of ranks: torchrun's if it started this process, else one for each GPU, or one."""
    if "RANK" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    gpus = torch.cuda.device_count()
    if asked and gpus and asked > gpus:
        raise UsageError(f"--nproc {asked}: this machine has {gpus} GPUs, and a process needs one of its own")
    return asked or max(1, gpus)


def launched() -> bool:
    """Return whether this process is a rank that :func:`launch` started."""
    return OUTCOME in os.environ and "RANK" in os.environ


def launch(module: str, arguments: list[str], processes: int) -> int:
    """Run ``python -m module arguments`` on every rank; return the exit code for this command."""
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    if not torch.cuda.is_available():
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // processes)))
    agent = parse_args(["--standalone", f"--nproc-per-node={processes}", "--max-restarts=0", "-m", module])
    agent.training_script_args = arguments
    with tempfile.TemporaryDirectory() as folder:
        os.environ[OUTCOME] = str(Path(folder) / "exit-code")
        for _ in range(RESTARTS + 1):
            code = _attempt(agent)
            if code >= 0:
                return code
            click.echo(f"a process was killed by signal {-code}; going on from the last checkpoint", err=True)
    click.echo(f"error: processes were killed {RESTARTS + 1} times; the same command goes on from here", err=True)
    return 1


def note_outcome(code: int) -> None:
    """Tell the launcher what a signal would cost now: unsaved steps (``INTERRUPTED``) or none (``STOPPED``)."""
    if os.environ.get("RANK") == "0" and (path := os.environ.get(OUTCOME)):
        Path(path).write_text(str(code))


def _attempt(agent: Namespace) -> int:
    """Return the workers' exit code, or the negative number of the signal that killed one."""
    try:
        run_agent(agent)
    except ChildFailedError as error:
        failures = sorted(error.failures.values(), key=lambda failure: failure.timestamp)
        return first_cause([failure.exitcode for failure in failures])
    except SignalException:
        return _outcome_after_signal()
    return 0


def first_cause(codes: list[int]) -> int:
    """Return the exit code that explains the others, given in the order of their coming.

    A rank that was killed takes the others with it, by errors of lost connections; a rank that failed makes the agent
    end the others by SIGTERM.
    """
    killed = [code for code in codes if code < 0 and code != -signal.SIGTERM]
    failed = [code for code in codes if code > 0]
    return [*killed, *failed, *codes][0]


def _outcome_after_signal() -> int:
    """Return 4 if the workers saved, or had not begun; 1 if they had to be killed before they could."""
    path = Path(os.environ[OUTCOME])
    return int(path.read_text() or 1) if path.exists() else STOPPED
