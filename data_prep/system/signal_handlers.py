"""Handlers of SIGTERM and Ctrl-C: they end a command with :class:`Stopped`, or do what the caller passes."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

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


def raise_stopped(number: int, _: FrameType | None) -> None:
    """Handle a signal by raising Stopped with the signal's name."""
    raise Stopped(signal.Signals(number).name)
