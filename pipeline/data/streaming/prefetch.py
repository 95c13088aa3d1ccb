"""The next things of a numbered row, made in threads before they are asked for."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Pending(Generic[T]):
    """Something that is whole once its jobs are done."""

    value: T
    jobs: tuple[Future[None], ...]

    def result(self) -> T:
        """Wait for it. Raises what a job raised."""
        for job in self.jobs:
            job.result()
        return self.value

    def cancel(self) -> None:
        for job in self.jobs:
            job.cancel()


class Prefetcher(Generic[T]):
    """Numbers that are asked for one after another come from work that was begun before; any other begins anew.

    There is no state but the number: what :meth:`take` returns depends on it alone. Threads live from the first
    number taken to :meth:`close`, and again after it.

    Args:
        begin: submits the jobs of a number to the pool and returns at once.
        workers: threads.
        depth: numbers begun before they are asked for.
        stop: numbers from here on are not begun before they are asked for; None for an endless row.
    """

    def __init__(
        self, begin: Callable[[ThreadPoolExecutor, int], Pending[T]], workers: int, depth: int, stop: int | None = None
    ) -> None:
        self.begin, self.workers, self.depth, self.stop = begin, workers, depth, stop
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: dict[int, Pending[T]] = {}

    def get(self, number: int) -> T:
        """Return what ``number`` stands for. Raises what its jobs raised; then nothing is in work any more."""
        try:
            self._fill(number)
            return self._ahead.pop(number).result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop what is in work and end the threads; waits for jobs that run."""
        for pending in self._ahead.values():
            pending.cancel()
        self._ahead.clear()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _fill(self, number: int) -> None:
        last = number + self.depth if self.stop is None else min(number + self.depth, self.stop - 1)
        wanted = range(number, max(number, last) + 1)
        for old in self._ahead.keys() - set(wanted):
            self._ahead.pop(old).cancel()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, "data", _single_threaded)
        for each in wanted:
            if each not in self._ahead:
                self._ahead[each] = self.begin(self._pool, each)


def _single_threaded() -> None:
    """Let no worker start a team of its own for torch's operators: they are as many as there are cores already."""
    torch.set_num_threads(1)
