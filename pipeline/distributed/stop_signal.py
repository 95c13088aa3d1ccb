"""What happens on SIGTERM or Ctrl-C: the step ends, the run is saved, and the command exits with code 4.

The launcher's agent passes the signal on to its ranks (`launcher.py`), and the handler of each rank, here, only sets a
flag. After every step an all-reduce combines the flags (`World.any`, called in `training/trainer.py`), so that all
ranks stop after the same step, even if only one of them got the signal. They save a checkpoint and raise
`StoppedError`, which `training/rank.py` turns into exit code 4; the launcher makes it the exit code of the command. The
same command resumes the run. Ranks that have not ended after 30 seconds are killed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from data_prep.system.signal_handlers import handle_stop_signals


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
