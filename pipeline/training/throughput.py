"""Throughput of a run, and how long it waited for data."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch


class Stopwatch(Protocol):
    """Makes marks in time and, later, tells the seconds between two of them."""

    def mark(self) -> Any:
        """Return a mark of this moment."""

    def seconds(self, early: Any, late: Any) -> float:
        """Return the time between two marks, once :meth:`settle` was called after them."""

    def settle(self) -> None:
        """Wait until every mark so far has its time."""


class HostTime:
    """The host's clock, which is the one that counts where the host computes."""

    def mark(self) -> Any:
        return time.perf_counter()

    def seconds(self, early: Any, late: Any) -> float:
        return float(late - early)

    def settle(self) -> None: ...


class StreamTime:
    """Marks that the GPU times when it comes to them: the host, far ahead, knows only when it launched what is between.

    Never run on a GPU yet.
    """

    def mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, early: Any, late: Any) -> float:
        return float(early.elapsed_time(late)) / 1000

    def settle(self) -> None:
        torch.cuda.synchronize()


STOPWATCHES: Mapping[str, type[Stopwatch]] = {"cpu": HostTime, "cuda": StreamTime}


class Clock:
    """Counts steps and waiting between two readings.

    Args:
        device: the type of device that computes. On ``cuda`` waiting is what its stream spends on making a batch,
            and only a reading waits for the device.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.stopwatch = STOPWATCHES[device]()
        self.restart()

    def restart(self) -> None:
        self.started, self.steps = time.perf_counter(), 0
        self.waits: list[tuple[Any, Any]] = []

    @contextmanager
    def waiting(self) -> Iterator[None]:
        before = self.stopwatch.mark()
        yield
        self.waits.append((before, self.stopwatch.mark()))

    def read(self, images_per_step: int) -> dict[str, float]:
        """Return images/s and the share of time that went into making batches, and start anew."""
        self.stopwatch.settle()
        elapsed = time.perf_counter() - self.started
        waited = sum(self.stopwatch.seconds(before, after) for before, after in self.waits)
        values = {"images_per_s": self.steps * images_per_step / elapsed, "data_wait": waited / elapsed}
        self.restart()
        return values
