"""Handlers of SIGTERM and Ctrl-C: they end a command with :class:`Stopped`, or do what the caller passes."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

Handler = Callable[[int, FrameType | None], object]


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived. It is not an Exception, so code that catches any Exception does not catch it."""


@contextmanager
def handle_stop_signals(handler: Handler) -> Iterator[None]:
    """Call the handler on SIGTERM and SIGINT until the ``with`` statement ends; then restore the former handlers.

    Outside the main thread, where Python allows no handler, do nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


class StopGently:
    """Handles stop signals: the first one stops gently, and Ctrl-C after it stops at once.

    Every other signal after the first changes nothing: some systems send one to a process and to its parent, which
    passes it on.

    Args:
        gently: handles the first signal.
        at_once: handles Ctrl-C after the first signal.
    """

    def __init__(self, gently: Handler, at_once: Handler) -> None:
        self.gently, self.at_once = gently, at_once
        self.received = self.hurried = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received = True
            self.gently(number, frame)
        elif number == signal.SIGINT:
            self.hurried = True
            self.at_once(number, frame)


def announce_saving(number: int) -> None:
    """Say what happens after a stop signal and what Ctrl-C does now; on a terminal, below the lines of the progress.

    The line is written to the file itself, since Python's own stream refuses to write while the signal interrupts a
    write of its own.
    """
    below = "\n\n" if sys.stderr.isatty() else ""
    text = "stopping after this step, then saving; press Ctrl-C again to stop without saving"
    with suppress(OSError):
        os.write(2, f"{below}{signal.Signals(number).name}: {text}\n".encode())


def raise_stopped(number: int, _: FrameType | None) -> NoReturn:
    """Handle a signal by raising Stopped with the signal's name."""
    raise Stopped(signal.Signals(number).name)
