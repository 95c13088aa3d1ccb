"""Train several runs at a time, in processes that have imported torch already."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Event
from types import FrameType

from data_prep.system.atomic_files import locked, make_folder
from data_prep.system.errors import DataError, UsageError
from data_prep.system.logs import configure_logging
from data_prep.system.parent_process import when_parent_ends
from data_prep.system.progress_bar import progress_bar
from data_prep.system.signal_handlers import StopGently, announce_saving, handle_stop_signals, raise_stopped
from data_prep.system.workers import available_cpus
from pipeline.comparison.runs import TrainingRun
from pipeline.run_folder import RunFolder

logger = logging.getLogger(__name__)

PRELOADED = ["pipeline.training.train_command", "torch._dynamo", "tensorboardX", "sklearn.datasets", "scipy.stats"]
"""Modules that take longer to import than a small run takes to train."""


def train_all(runs: Sequence[TrainingRun], arguments: Sequence[str], jobs: int) -> list[TrainingRun]:
    """Train all runs, ``jobs`` at a time, and return those that failed. A finished run is not trained again.

    If a signal interrupts this process, the runs stop after their step and save; Ctrl-C after it kills them.
    """
    threads = max(1, available_cpus() // jobs)
    processes, ending = set[ForkServerProcess](), Event()
    ordered = sorted(runs, key=lambda run: run.seed)
    pool = ThreadPoolExecutor(jobs)
    failed = []
    with handle_stop_signals(StopGently(_stop, lambda *_: _end(processes, ForkServerProcess.kill))):
        try:
            codes = pool.map(lambda run: _train_in_process(run, arguments, threads, processes, ending), ordered)
            with progress_bar(len(runs), "runs") as advance:
                for run, code in zip(ordered, codes, strict=True):
                    advance(1)
                    if code or run.accuracy() is None:
                        failed.append(run)
            return failed
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            ending.set()
            _end(processes, ForkServerProcess.terminate)
            pool.shutdown()


def _stop(number: int, frame: FrameType | None) -> None:
    announce_saving(number)
    raise_stopped(number, frame)


def _end(processes: set[ForkServerProcess], how: Callable[[ForkServerProcess], None]) -> None:
    for process in list(processes):
        how(process)


def _train_in_process(
    run: TrainingRun, arguments: Sequence[str], threads: int, processes: set[ForkServerProcess], ending: Event
) -> int:
    """Train one run and return its exit code.

    Its process is in the set ``processes`` while it runs. If ``ending`` was set while it started, it is asked to end.
    """
    make_folder(run.folder)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    words = [*arguments, *run.arguments()]
    process = context.Process(target=_train, args=(words, run.log_file, dict(os.environ), threads, sender))
    process.start()
    sender.close()
    processes.add(process)
    if ending.is_set():
        process.terminate()
    try:
        return int(receiver.recv())
    except EOFError:  # the process was killed
        return 1
    finally:
        process.join()
        processes.remove(process)


def _train(
    arguments: list[str], log_file: Path, environment: dict[str, str], threads: int, sender: "Connection[int, int]"
) -> None:
    """Run ``smpl-train`` in this process, which was forked from the server that preloads the modules.

    The server has neither the environment of the comparison nor the run's log as its output, so both are set first. The
    exit code is sent through ``sender``, since a library that fails at shutdown may change that of the process.
    """
    import torch  # noqa: PLC0415

    from pipeline.train import main  # noqa: PLC0415

    os.setpgid(0, 0)  # Ctrl-C goes to the comparison alone, which ends its runs itself
    when_parent_ends(partial(os.kill, os.getpid(), signal.SIGTERM))  # the run saves and stops
    with log_file.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment | {"OMP_NUM_THREADS": str(threads)})
    configure_logging()
    torch.set_num_threads(threads)
    _wait_until_unlocked(RunFolder(log_file.parent).lock_file)
    try:
        main.main(arguments, prog_name="smpl-train")
    except SystemExit as end:
        with suppress(BrokenPipeError):  # the comparison was killed
            sender.send(int(end.code or 0))


def _wait_until_unlocked(lock: Path) -> None:
    """Wait until no other process works in the folder of the lock.

    After a comparison was killed, its runs go on for a moment, until they have saved.
    """
    with suppress(DataError):  # the folder cannot be written to, and the run itself will say so
        try:
            with locked(lock, wait=False):
                return
        except UsageError:
            logger.info("waiting for another process that works in %s", lock.parent)
        with locked(lock):
            pass
