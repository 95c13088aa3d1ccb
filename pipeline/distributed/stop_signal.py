"""What happens on SIGTERM or Ctrl-C: the step ends, the run is saved, and the command exits with code 4.

The launcher's agent passes the signal on to its ranks (`launcher.py`), and the handler of each rank, here, only sets a
flag. After every step an all-reduce combines the flags (`World.any`, called in `training/trainer.py`), so that all
ranks stop after the same step, even if only one of them got the signal. They save a checkpoint and raise
`StoppedError`, which ends each rank, and then the command, with exit code 4 (`training/rank.py`). The same command
resumes the run. Ranks that have not ended after 30 seconds are killed.
"""

from contextlib import ExitStack
from types import FrameType
from typing import Self

from data_prep.system.stop_signals import handle_stop_signals


class StopSignal(ExitStack):
    """Context in which SIGTERM and SIGINT only set ``received``, and outside of which they act as before."""

    def __init__(self) -> None:
        super().__init__()
        self.received = False

    def __enter__(self) -> Self:
        self.enter_context(handle_stop_signals(self._receive))
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.received = True
