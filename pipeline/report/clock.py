"""Throughput of a run, and how long it waited for data."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Counts steps and waiting between two readings."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.started, self.waited, self.steps = time.perf_counter(), 0.0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        before = time.perf_counter()
        yield
        self.waited += time.perf_counter() - before

    def read(self, images_per_step: int) -> dict[str, float]:
        """Return images/s and the share of time that went into making batches, and start anew."""
        elapsed = time.perf_counter() - self.started
        values = {"images_per_s": self.steps * images_per_step / elapsed, "data_wait": self.waited / elapsed}
        self.restart()
        return values
