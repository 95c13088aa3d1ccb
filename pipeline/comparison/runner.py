"""Training runs of a table, several at a time, in processes that have torch imported already."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import click
from tqdm import tqdm

from data_prep.system.atomic_files import locked, make_folder
from data_prep.system.errors import DataError, UsageError
from data_prep.system.workers import available_cpus
from pipeline.comparison.rows import Variant
from pipeline.run_folder import MissingFileError, RunFolder

WARM = ["pipeline.train", "torch._dynamo", "tensorboardX", "sklearn.datasets", "scipy.stats"]
"""What takes longer to import than a small run takes to train."""


@dataclass(frozen=True)
class Cell:
    """One run: a variant and a seed, of its weights, batches and label split alike."""

    variant: Variant
    seed: int
    folder: Path

    @property
    def accuracy(self) -> float | None:
        """Test accuracy in percent, or None if the run has not ended."""
        try:
            return RunFolder(self.folder).summary().test_accuracy
        except MissingFileError:
            return None

    def arguments(self) -> list[str]:
        """Return what ``smpl-train`` is told for this run alone."""
        settings = [f"--set={setting}" for setting in (f"data.seed={self.seed}", *self.variant.settings)]
        own = {"--method": self.variant.method, "--seed": self.seed, "--out": self.folder, "--nproc": 1}
        return settings + [str(word) for flag in own.items() for word in flag]


def run_all(cells: Sequence[Cell], arguments: Sequence[str], jobs: int) -> list[Cell]:
    """Run all cells, ``jobs`` at a time, and return those that failed; a finished one tells its result and ends.

    An interruption stops the running cells, which save what they have.
    """
    threads = max(1, available_cpus() // jobs)
    running: set[ForkServerProcess] = set()
    ordered = sorted(cells, key=lambda cell: cell.seed)
    pool = ThreadPoolExecutor(jobs)
    try:
        codes = pool.map(lambda cell: _run(cell, arguments, threads, running), ordered)
        done = zip(ordered, tqdm(codes, total=len(cells), unit="run"), strict=True)
        return [cell for cell, code in done if code or cell.accuracy is None]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(running):
            process.terminate()
        pool.shutdown()


def _run(cell: Cell, arguments: Sequence[str], threads: int, running: set[ForkServerProcess]) -> int:
    make_folder(cell.folder)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)
    words = [*arguments, *cell.arguments()]
    answer, report = context.Pipe(duplex=False)
    told = (words, cell.folder / "log.txt", dict(os.environ), threads, report)
    process = context.Process(target=_train, args=told)
    process.start()
    report.close()
    running.add(process)
    try:
        return int(answer.recv())
    except EOFError:  # it was killed
        return 1
    finally:
        process.join()
        running.remove(process)


def _train(
    arguments: list[str], log: Path, environment: dict[str, str], threads: int, report: "Connection[int, int]"
) -> None:
    """Be ``smpl-train``, in a process forked from one that knows neither this environment nor this log.

    The exit code goes through ``report``: that of a process may come from how its libraries take leave.
    """
    import torch  # noqa: PLC0415

    from pipeline.train import main  # noqa: PLC0415

    threading.Thread(target=_stop_after_parent, daemon=True).start()
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment | {"OMP_NUM_THREADS": str(threads)})
    torch.set_num_threads(threads)
    _wait_for_others(log.with_name(".lock"))
    try:
        main.main(arguments, prog_name="smpl-train")
    except SystemExit as end:
        with suppress(BrokenPipeError):  # of a comparison that was killed
            report.send(int(end.code or 0))


def _stop_after_parent() -> None:
    """Save and stop, as if asked to, when the comparison is no more: if killed, it cannot ask."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_others(lock: Path) -> None:
    """Return when nobody is at work in the folder of ``lock``, as runs of a killed comparison are for a while."""
    with suppress(DataError):  # a folder that cannot be written to; the run itself will say so
        try:
            with locked(lock, wait=False):
                return
        except UsageError:
            click.echo(f"waiting for another process that is at work in {lock.parent}")
        with locked(lock):
            pass
