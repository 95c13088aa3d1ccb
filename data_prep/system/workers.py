"""The number of usable CPUs, and jobs that run on worker processes, with a bounded number of them in memory.

Processes are used, not threads: encoding a 32x32 image is mostly Python code, and two threads gain nothing over one
(measured). The number of CPUs is our own: joblib's ``cpu_count`` reads the quota of the outermost control group only.
"""

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from data_prep.system.cgroup import cpu_quota
from data_prep.system.errors import UserError
from data_prep.system.malloc import keep_memory
from data_prep.system.parent_process import when_parent_ends

Job = TypeVar("Job")
Result = TypeVar("Result")


def available_cpus() -> int:
    """Return the number of CPUs that this process may use: by its affinity, and by the quota of its control groups."""
    allowed, quota = len(os.sched_getaffinity(0)), cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def run_jobs(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Generator[Result, None, None]:
    """Yield the result of each job when it is finished, in any order.

    Args:
        function: is called with each job; with several workers both are pickled.
        jobs: are taken from the iterable as workers become free.
        workers: the number of processes; with 1 the jobs run in this one.

    Raises what a job raises, and UserError if a worker is killed.
    """
    if workers == 1:
        yield from map(function, jobs)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _initialize_worker)
    try:
        yield from _results(pool, function, jobs, 2 * workers)
    except BrokenProcessPool:
        raise UserError("a worker was killed (out of memory?); use fewer --workers, the same command resumes") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _results(
    pool: ProcessPoolExecutor, function: Callable[[Job], Result], jobs: Iterable[Job], window: int
) -> Generator[Result, None, None]:
    pending: set[Future[Result]] = set()
    for job in jobs:
        pending.add(pool.submit(function, job))
        if len(pending) >= window:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    yield from (future.result() for future in as_completed(pending))


def _initialize_worker() -> None:
    """Prepare a worker: it ignores Ctrl-C, which the parent handles, ends with its parent, and keeps freed memory.

    SIGTERM keeps its effect, because the executor ends the other workers with it when one is lost.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory()
    when_parent_ends(partial(os._exit, 1))
