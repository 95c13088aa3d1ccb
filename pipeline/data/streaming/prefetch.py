"""Prefetch: threads compute the next items of a numbered sequence before they are asked for."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Pending(Generic[T]):
    """A value that is complete as soon as its jobs are done."""

    value: T
    jobs: tuple[Future[None], ...]
    """The jobs that fill the value."""

    def result(self) -> T:
        """Wait for the jobs and return the value. Raises what a job raised."""
        for job in self.jobs:
            job.result()
        return self.value

    def cancel(self) -> None:
        """Cancel the jobs that have not started."""
        for job in self.jobs:
            job.cancel()


class Prefetcher(Generic[T]):
    """Returns items by number. Consecutive numbers were prefetched; any other number starts a new sequence.

    What :meth:`get` returns depends on the number alone. The threads start with the first :meth:`get` and end with
    :meth:`close`, after which another :meth:`get` starts them again.

    Args:
        begin: submits the jobs of a number to the pool and returns at once.
        workers: number of threads.
        depth: how many numbers to prefetch.
        stop: the length of the sequence, beyond which nothing is prefetched; None if it is endless.
    """

    def __init__(
        self, begin: Callable[[ThreadPoolExecutor, int], Pending[T]], workers: int, depth: int, stop: int | None = None
    ) -> None:
        self.begin, self.workers, self.depth, self.stop = begin, workers, depth, stop
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: dict[int, Pending[T]] = {}

    def get(self, number: int) -> T:
        """Return the item ``number``. If one of its jobs raises, end all jobs and raise the same error."""
        try:
            self._fill(number)
            return self._ahead.pop(number).result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Cancel all jobs and end the threads; wait for jobs that are running."""
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
    """Limit torch's operators in a worker to one thread, since there are as many workers as cores already."""
    torch.set_num_threads(1)
