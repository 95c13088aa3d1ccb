"""Throughput of a run in images per second, and the share of time that it waited for data."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch


class Stopwatch(Protocol):
    """Marks moments and measures, later, the seconds between two of them."""

    def mark(self) -> Any:
        """Return a mark of the present moment."""

    def seconds(self, early: Any, late: Any) -> float:
        """Return the seconds between two marks. Call :meth:`synchronize` first, after the last mark."""

    def synchronize(self) -> None:
        """Wait until the time of every mark is known."""


class HostTime:
    """The clock of the host, for a device that is the host itself."""

    def mark(self) -> Any:
        return time.perf_counter()

    def seconds(self, early: Any, late: Any) -> float:
        return float(late - early)

    def synchronize(self) -> None: ...


class StreamTime:
    """The clock of a GPU: events in its stream, which runs behind the host, are timed by the GPU itself.

    This has not run on a GPU yet.
    """

    def mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, early: Any, late: Any) -> float:
        return float(early.elapsed_time(late)) / 1000

    def synchronize(self) -> None:
        torch.cuda.synchronize()


STOPWATCHES: Mapping[str, type[Stopwatch]] = {"cpu": HostTime, "cuda": StreamTime}


class Clock:
    """Counts steps, and the time spent waiting for batches, between two readings.

    Args:
        device: the type of the device that computes. On ``cuda``, waiting is the time that its stream spends on making
            batches, and only a reading waits for the device.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.stopwatch = STOPWATCHES[device]()
        self.restart()

    def restart(self) -> None:
        """Start counting at the present moment."""
        self.started, self.steps = time.perf_counter(), 0
        self.waits: list[tuple[Any, Any]] = []

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Return a context whose time counts as waiting for data."""
        before = self.stopwatch.mark()
        yield
        self.waits.append((before, self.stopwatch.mark()))

    def read(self, images_per_step: int) -> dict[str, float]:
        """Return ``images_per_s`` and ``data_wait``, the share of time spent on making batches, and restart."""
        self.stopwatch.synchronize()
        elapsed = time.perf_counter() - self.started
        waited = sum(self.stopwatch.seconds(before, after) for before, after in self.waits)
        values = {"images_per_s": self.steps * images_per_step / elapsed, "data_wait": waited / elapsed}
        self.restart()
        return values
