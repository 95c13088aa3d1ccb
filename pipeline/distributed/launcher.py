"""Start the ranks of this node by torchrun's agent, which runs inside this process.

The command torchrun exits with 1 whatever its workers returned. Here the agent's error is read instead, so that this
command exits with the code of the worker that failed first. On a single node, workers that were *killed* are started
again; after any other error the run ends, since the same error would occur again. With several nodes, a node that loses
a process or another node ends with exit code 1, and whatever started its command has to start it again.
"""

import logging
import os
import signal
import tempfile
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil
import torch
from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args
from torch.distributed.run import run as run_agent

from data_prep.system.cli import STOPPED
from data_prep.system.errors import UsageError, UserError
from data_prep.system.signal_handlers import StopGently, announce_saving, handle_stop_signals, raise_stopped
from data_prep.system.workers import available_cpus
from pipeline.distributed.node_env import SINGLE_NODE, NodeConfig
from pipeline.distributed.rendezvous import BACKEND, NodeLostError, register_rendezvous
from pipeline.distributed.stop_signal import stop_at_once

logger = logging.getLogger(__name__)

RESTARTS = 3
"""How often the processes of a single node are started again after one was killed."""
SHUTDOWN_SECONDS = 30
"""Time that the ranks have to save and end after a signal; then the agent kills them."""
UNSAVED = 1
"""Exit code of a command whose ranks were stopped before they could save."""
LOST_PEER = 75
"""Exit code by which a rank tells :func:`launch` that it lost another rank; no command exits with it."""
EXIT_CODE_FILE = "SMPL_OUTCOME"
"""Environment variable that names a file. In it the first rank of a node records the exit code of the command for the
case that a signal stops the run at the present moment; see :func:`record_exit_code`."""
AGENT_LOGGERS = ("torch.distributed.elastic", "torch.distributed.launcher", "torch.distributed.run")
"""How the names of the loggers of torchrun's modules begin."""


def choose_processes(requested: int | None, nodes: NodeConfig = SINGLE_NODE) -> int:
    """Return the number of ranks.

    Under torchrun it is the number of all ranks. Otherwise it is the number on this node: the requested one, or one for
    each GPU here, or one.

    Raises:
        UsageError: more ranks are requested than this machine has GPUs.
    """
    if "RANK" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    gpus, name = torch.cuda.device_count(), "PET_NPROC_PER_NODE=" if nodes.processes else "--nproc "
    requested = nodes.processes or requested
    if requested and gpus and requested > gpus:
        raise UsageError(f"{name}{requested}: this machine has {gpus} GPUs, and each process needs its own")
    return requested or max(1, gpus)


def is_launched() -> bool:
    """Return whether this process is a rank that :func:`launch` started."""
    return EXIT_CODE_FILE in os.environ and "RANK" in os.environ


def launch(module: str, arguments: list[str], processes: int, nodes: NodeConfig = SINGLE_NODE) -> int:
    """Run ``python -m module arguments`` on every rank of this node; return the exit code for this command.

    Raises:
        UserError: another node was lost or did not arrive, or a process of one of several nodes was killed, or the
            processes of a single node were killed too often.
    """
    _silence_agent()
    _drop_empty_variables()
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(SHUTDOWN_SECONDS)  # before torch 2.12 it was always 30
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # else ranks import modules from the current folder
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else a lost connection is a stack trace on every rank
    if not torch.cuda.is_available():
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cpus() // processes)))
    with tempfile.TemporaryDirectory() as folder:
        os.environ[EXIT_CODE_FILE] = str(Path(folder) / "exit-code")
        others = "--signals-to-handle=SIGHUP,SIGQUIT"  # SIGTERM and SIGINT are handled here
        flags = [*_agent_flags(nodes), f"--nproc-per-node={processes}", "--max-restarts=0", others]
        agent = parse_args([*flags, "-m", module])
        agent.training_script_args = arguments
        return _run_single_node(agent) if nodes == SINGLE_NODE else _run_one_of_several(agent)


def record_exit_code(code: int) -> None:
    """Record for the launcher the exit code for the case that a signal stops the run at the present moment.

    Args:
        code: ``UNSAVED`` while steps would be lost, otherwise ``STOPPED``.
    """
    if os.environ.get("LOCAL_RANK") == "0" and (path := os.environ.get(EXIT_CODE_FILE)):
        Path(path).write_text(str(code))


def _silence_agent() -> None:
    """Turn off the log of torchrun's modules. Most set the level of their own logger, so a parent's has no effect."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(AGENT_LOGGERS):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _drop_empty_variables() -> None:
    """Remove empty PET_* variables, which :func:`read_node_config` ignores; torchrun would read an empty number."""
    for name in [name for name, value in os.environ.items() if name.startswith("PET_") and not value]:
        del os.environ[name]


def _agent_flags(nodes: NodeConfig) -> list[str]:
    """Return torchrun's flags that say where the processes find each other."""
    if nodes == SINGLE_NODE:
        return ["--standalone", "--local-addr=localhost"]
    register_rendezvous()
    settings = f"--rdzv-conf=rank={nodes.rank},join_timeout={nodes.join_timeout}"
    endpoint = [f"--nnodes={nodes.count}", f"--rdzv-backend={BACKEND}", f"--rdzv-endpoint={nodes.endpoint}"]
    return [*endpoint, settings, "--monitor-interval=1"]


def _run_single_node(agent: Namespace) -> int:
    """Run all ranks of a run on this node, start them again if one is killed, and return the exit code."""
    for _ in range(RESTARTS + 1):
        code = _run_ranks(agent)
        if code >= 0:
            return 1 if code == LOST_PEER else code
        logger.warning("a process was killed by signal %d; going on from the last checkpoint", -code)
    raise UserError(f"processes were killed {RESTARTS + 1} times; the same command goes on from the last checkpoint")


def _run_one_of_several(agent: Namespace) -> int:
    """Run the ranks of one of several nodes; return the exit code for this command."""
    try:
        code = _run_ranks(agent)
    except (DistError, NodeLostError) as error:
        raise _lost(str(error).partition("\n")[0]) from None
    if code == LOST_PEER:
        raise _lost("the processes of another node ended")
    if code < 0:
        raise _lost(f"a process was killed by signal {-code}")
    return code


def _lost(reason: str) -> NodeLostError:
    return NodeLostError(f"{reason}; the same command, on every node, goes on from the last checkpoint")


def _run_ranks(agent: Namespace) -> int:
    """Run the ranks once; return their exit code, or the negative number of the signal that killed one."""
    Path(os.environ[EXIT_CODE_FILE]).unlink(missing_ok=True)
    stop = StopGently(_stop_agent, _kill_ranks)
    try:
        with handle_stop_signals(stop):
            run_agent(agent)
    except ChildFailedError as error:
        failures = sorted(error.failures.values(), key=lambda failure: failure.timestamp)
        return root_cause([failure.exitcode for failure in failures])
    except SignalException:
        if stop.hurried:
            stop_at_once()
        return _exit_code_after_signal()
    return 0


def _stop_agent(number: int, frame: FrameType | None) -> NoReturn:
    """Let the agent pass the signal on to the ranks and wait until they have saved, as its own handler would."""
    if not psutil.Process().children():
        raise_stopped(number, frame)
    announce_saving(number)
    raise SignalException(f"stopped by signal {number}", sigval=signal.Signals(number))


def _kill_ranks(*_: object) -> None:
    """Kill the ranks, each of which leads a session of its own; the agent waits for them already."""
    for rank in psutil.Process().children():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(rank.pid, signal.SIGKILL)


def root_cause(codes: list[int]) -> int:
    """Return the exit code that explains the others, given in the order in which the ranks ended.

    When a rank is killed, the others lose it and end as well; when a rank fails, the agent ends the others by SIGTERM.
    """
    killed = [code for code in codes if code < 0 and code != -signal.SIGTERM]
    failed = [code for code in codes if code > 0 and code != LOST_PEER]
    lost = [code for code in codes if code == LOST_PEER]
    return [*killed, *failed, *lost, *codes][0]


def _exit_code_after_signal() -> int:
    """Return the recorded exit code: 4 if no step was lost, 1 if the agent killed the ranks before they could save."""
    path = Path(os.environ[EXIT_CODE_FILE])
    return int(path.read_text() or UNSAVED) if path.exists() else STOPPED
