"""Start the ranks: torchrun's agent inside this process, so that signals and exit codes keep their meaning.

torchrun exits with 1 whatever its workers said. Here the agent's error is read instead: a worker's own exit code is
passed on, and only a worker that was *killed* is worth another try, since an error would come again. Of several nodes,
one whose processes lost those of another is worth it too: all meet again.
"""

import logging
import os
import signal
import tempfile
import time
from argparse import Namespace
from pathlib import Path

import click
import torch
from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousConnectionError
from torch.distributed.run import parse_args
from torch.distributed.run import run as run_agent

from data_prep.system.cli import STOPPED
from data_prep.system.errors import UsageError
from data_prep.system.workers import available_cpus
from pipeline.distributed.node_env import ALONE, PATIENCE, Nodes
from pipeline.distributed.rendezvous import Meeting

RESTARTS = 3
SHUTDOWN_SECONDS = 30
"""What the ranks have to save and end after a signal, before the agent kills them."""
INTERRUPTED = 1
LOST = 75
"""Exit code of a rank that lost the others, for :func:`launch` alone; never of a command."""
OUTCOME = "SMPL_OUTCOME"
"""Environment variable naming the file in which a node's first rank notes its exit code."""


def choose_processes(asked: int | None, nodes: Nodes = ALONE) -> int:
    """Return the number of ranks: torchrun's if it started this process, else one for each GPU here, or one."""
    if "RANK" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    gpus, name = torch.cuda.device_count(), "PET_NPROC_PER_NODE=" if nodes.processes else "--nproc "
    asked = nodes.processes or asked
    if asked and gpus and asked > gpus:
        raise UsageError(f"{name}{asked}: this machine has {gpus} GPUs, and a process needs one of its own")
    return asked or max(1, gpus)


def launched() -> bool:
    """Return whether this process is a rank that :func:`launch` started."""
    return OUTCOME in os.environ and "RANK" in os.environ


def launch(module: str, arguments: list[str], processes: int, nodes: Nodes = ALONE) -> int:
    """Run ``python -m module arguments`` on every rank of this node; return the exit code for this command.

    Raises:
        UserError: the other nodes did not come.
    """
    for name in ("torch.distributed.elastic", "torch.distributed.run"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _drop_empty_variables()
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(SHUTDOWN_SECONDS)  # before torch 2.12 it was always 30
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # else ranks import what lies in this folder
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else a lost connection is a stack trace on every rank
    if not torch.cuda.is_available():
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cpus() // processes)))
    with tempfile.TemporaryDirectory() as folder:
        os.environ[OUTCOME] = str(Path(folder) / "exit-code")
        meeting = None if nodes == ALONE else Meeting(nodes, begin=_forget_outcome)
        place = ["--standalone", "--local-addr=localhost"] if meeting is None else _place(nodes, meeting)
        agent = parse_args([*place, f"--nproc-per-node={processes}", "--max-restarts=0", "-m", module])
        agent.training_script_args = arguments
        return _run(agent) if meeting is None else _run_together(agent, meeting)


def note_outcome(code: int) -> None:
    """Tell the launcher what a signal would cost now: unsaved steps (``INTERRUPTED``) or none (``STOPPED``)."""
    if os.environ.get("LOCAL_RANK") == "0" and (path := os.environ.get(OUTCOME)):
        Path(path).write_text(str(code))


def _drop_empty_variables() -> None:
    """Take what is empty for what is not set, as :func:`find_nodes` does; torchrun would read an empty number."""
    for name in [name for name, value in os.environ.items() if name.startswith("PET_") and not value]:
        del os.environ[name]


def _place(nodes: Nodes, meeting: Meeting) -> list[str]:
    """Return torchrun's flags for a node."""
    endpoint = f"--rdzv-endpoint={nodes.host}:{nodes.port}"
    return [f"--nnodes={nodes.count}", f"--rdzv-backend={meeting.get_backend()}", endpoint, "--rdzv-conf="]


def _run(agent: Namespace) -> int:
    """Run the ranks of a run that has no other node; return the exit code for this command."""
    for _ in range(RESTARTS + 1):
        code = _attempt(agent)
        if code >= 0:
            return INTERRUPTED if code == LOST else code
        click.echo(f"a process was killed by signal {-code}; going on from the last checkpoint", err=True)
    click.echo(f"error: processes were killed {RESTARTS + 1} times; the same command goes on from here", err=True)
    return 1


def _run_together(agent: Namespace, meeting: Meeting) -> int:
    """Run the ranks of one of several nodes; return the exit code for this command."""
    failures = 0
    while failures <= RESTARTS:
        try:
            code = _attempt(agent)
        except (RendezvousConnectionError, DistError):  # node 0 is gone, and the store with it
            code = LOST
        if 0 <= code != LOST:
            return code
        failures = 1 if time.monotonic() - meeting.met > PATIENCE else failures + 1
        cause = "the processes of another node are gone" if code == LOST else f"a process was killed by signal {-code}"
        click.echo(f"{cause}; the nodes meet again, to go on from the last checkpoint", err=True)
    click.echo(f"error: the run broke off {failures} times in a row; the same command goes on from here", err=True)
    return 1


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

    A rank that was killed takes the others with it, which lose contact; so does a rank that failed, and the agent ends
    the others by SIGTERM.
    """
    killed = [code for code in codes if code < 0 and code != -signal.SIGTERM]
    failed = [code for code in codes if code > 0 and code != LOST]
    lost = [code for code in codes if code == LOST]
    return [*killed, *failed, *lost, *codes][0]


def _outcome_after_signal() -> int:
    """Return 4 if the workers saved, or had not begun; 1 if they had to be killed before they could."""
    path = Path(os.environ[OUTCOME])
    return int(path.read_text() or 1) if path.exists() else STOPPED


def _forget_outcome() -> None:
    Path(os.environ[OUTCOME]).unlink(missing_ok=True)
