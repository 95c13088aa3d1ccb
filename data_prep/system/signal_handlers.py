"""What SIGTERM and Ctrl-C do: a command ends with :class:`Stopped`; a training step installs its own handler."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived. It is no Exception, so code that catches those of damaged input lets it pass."""


@contextmanager
def handle_stop_signals(handler: Handler) -> Iterator[None]:
    """Call the handler on SIGTERM and SIGINT, and restore the former handlers at the end.

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
