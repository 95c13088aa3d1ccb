"""Run a Python process for work that may hang, crash or need much memory; it ends in time, with all its children."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.distributed.stop_signal import catch_stop_signals

GRACE_SECONDS = 40
"""Time between asking a process to end and killing it: a launcher kills its own ranks after 30 s."""
SHOWN_CHARACTERS = 300
"""Number of characters of a process's error output, from its end, in :attr:`FinishedProcess.problem`."""


@dataclass(frozen=True)
class FinishedProcess:
    """How a process ended, and what it printed."""

    code: int | None
    """Its exit code, negative for a signal; None if it did not end in time."""
    output: str
    """Its standard output."""
    errors: str
    """Its standard error."""

    @property
    def problem(self) -> str:
        """Return in one line how the process ended, with the last lines of its standard error."""
        if self.code is None:
            ending = "did not end in time"
        else:
            ending = f"exit code {self.code}" if self.code >= 0 else f"killed by {_signal_name(-self.code)}"
        last = " | ".join([line.strip() for line in self.errors.splitlines() if line.strip()][-3:])
        return f"{ending}: {last[-SHOWN_CHARACTERS:]}" if last else ending


def run_python(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    seconds: float | None = None,
    folder: Path | None = None,
) -> FinishedProcess:
    """Run ``python ARGUMENTS`` and wait until it ends.

    Args:
        arguments: arguments of the interpreter, such as ``-m`` and a module.
        environment: all environment variables of the process.
        seconds: the time limit after which the process is stopped; None for no limit.
        folder: its working directory; None for that of this process.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with _running([sys.executable, *arguments], environment, folder, output, errors) as process:
            code = _wait(process, seconds)
        return FinishedProcess(code, _text(output), _text(errors))


@contextmanager
def _running(
    words: Sequence[str], environment: Mapping[str, str], folder: Path | None, output: IO[bytes], errors: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Return a context in which a process runs, in a session of its own; at its end the whole session is stopped."""
    with catch_stop_signals() as stop:  # a signal that comes now takes effect when the process can be stopped
        process = subprocess.Popen(  # noqa: S603
            words, cwd=folder, env=environment, stdout=output, stderr=errors, start_new_session=True
        )
    try:
        if stop.received:
            signal.raise_signal(signal.SIGTERM)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            _wait(process, GRACE_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], seconds: float | None) -> int | None:
    """Return the exit code of a process, or None if it does not end in time."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    return None


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
