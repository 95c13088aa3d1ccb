"""The progress of long work: a bar on a terminal, and elsewhere a log line now and then, without carriage returns."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress_bar(total: int, unit: str, title: str = "", *, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """Show the progress of work until the ``with`` statement ends; yield a function that counts units as done.

    Args:
        total: units of the whole work; 0 if that is not known.
        unit: what is counted, in the plural; "bytes" are shown with their multiples.
        title: what the work is, such as the name of the file that is downloaded.
        shown: False shows nothing.
    """
    if not shown:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _terminal_bar(total, unit, title) as advance:
            yield advance
    else:
        yield _Lines(total, unit, title).advance


@contextmanager
def _terminal_bar(total: int, unit: str, title: str) -> Iterator[Callable[[int], object]]:
    from tqdm import tqdm  # noqa: PLC0415

    in_bytes = unit == "bytes"
    with tqdm(
        total=total or None, desc=title or None, unit="B" if in_bytes else f" {unit}", unit_scale=in_bytes
    ) as bar:
        yield bar.update


class _Lines:
    """Logs a line at most every ten seconds, and none for work that ends before."""

    def __init__(self, total: int, unit: str, title: str) -> None:
        self.total, self.unit, self.title = total, unit, f"{title}: " if title else ""
        self.done = 0
        self.started = self.logged = time.monotonic()

    def advance(self, count: int) -> None:
        """Count work as done, and log a line if the last one is long ago."""
        self.done += count
        now = time.monotonic()
        if now - self.logged >= SECONDS_BETWEEN_LINES:
            self.logged = now
            whole = f" of {self.total:,}" if self.total else ""
            seconds = (now - self.started) / max(self.done, 1)
            pace = f"{seconds:.1f} s each" if seconds > 1 else f"{1 / seconds:.0f} a second"
            logger.info("%s%s%s %s, %s", self.title, f"{self.done:,}", whole, self.unit, pace)
