"""What happens on SIGTERM or Ctrl-C: the step ends, the run is saved, and the command exits with code 4.

The launcher's agent passes the signal on to its ranks (`launcher.py`), and the handler of each rank, here, only sets a
flag. After every step an all-reduce combines the flags (`World.any`, called in `training/trainer.py`), so that all
ranks stop after the same step, even if only one of them got the signal. They save a checkpoint and raise
`StoppedError`, which ends each rank, and then the command, with exit code 4 (`training/rank.py`). The same command
resumes the run. Ranks that have not ended after 30 seconds are killed.
"""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """Context in which SIGTERM and SIGINT only set ``received``, and outside of which they act as before."""

    def __init__(self) -> None:
        self.received = False
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.received = True
