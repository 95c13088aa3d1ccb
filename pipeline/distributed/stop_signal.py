"""What happens on SIGTERM or Ctrl-C: the step ends, the run is saved, and the command exits with code 4.

The command says at once what happens, and Ctrl-C after that ends it without saving. The launcher's agent passes the
first signal on to its ranks (`launcher.py`), and the handler of each rank, here, only sets a flag. After every step an
all-reduce combines the flags (`World.any`, called in `training/trainer.py`), so that all ranks stop after the same
step, even if only one of them got the signal. They save a checkpoint and raise `StoppedError`, which
`training/rank.py` turns into exit code 4; the launcher makes it the exit code of the command. The same command resumes
the run. Ranks that have not ended after 30 seconds are killed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from data_prep.system.signal_handlers import StopGently, Stopped, announce_saving, handle_stop_signals


@dataclass
class StopSignal:
    """Whether SIGTERM or SIGINT arrived."""

    received: bool = False


@contextmanager
def catch_stop_signals() -> Iterator[StopSignal]:
    """Return a context in which SIGTERM and SIGINT only set ``received`` of the yielded object."""
    stop = StopSignal()
    with handle_stop_signals(lambda *_: setattr(stop, "received", True)):
        yield stop


@contextmanager
def stop_after_step(*, quiet: bool) -> Iterator[StopSignal]:
    """Return a context in which the first SIGTERM or SIGINT sets ``received`` of the yielded object, and says so.

    Ctrl-C after it raises Stopped. With ``quiet`` signals do nothing but set ``received``: so it is for a rank whose
    command, or whose first rank, does the rest.
    """
    stop = StopSignal()

    def note(number: int, _: FrameType | None) -> None:
        stop.received = True
        if not quiet:
            announce_saving(number)

    with handle_stop_signals(note if quiet else StopGently(note, stop_at_once)):
        yield stop


def stop_at_once(*_: object) -> NoReturn:
    """Handle a signal by raising Stopped, which says that steps are lost."""
    raise Stopped("SIGINT before it could save, so the steps since the last checkpoint are lost")
