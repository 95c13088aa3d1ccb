"""A Python process of its own for what may hang, crash or take memory: it ends in time and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.distributed.stop_signal import StopSignal
from pipeline.doctor.folders import CACHES

ROOT = Path(__file__).parents[2]
"""Where the packages of this project lie."""
OTHERS = ("PET_", "TORCHELASTIC_", "MASTER_", "GROUP_", "ROLE_", "SMPL_OUTCOME")
RANKS = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}
GRACE_SECONDS = 40
"""Between asking a process to end and killing it: a launcher kills its own ranks after 30."""
SHOWN = 300
"""Characters of what a process said last."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int | None
    """Its exit code, negative for a signal; None if it did not end in time."""
    output: str
    errors: str

    @property
    def problem(self) -> str:
        """How it ended, and what it said last."""
        if self.code is None:
            how = "did not end in time"
        else:
            how = f"exit code {self.code}" if self.code >= 0 else f"killed by {_signal_name(-self.code)}"
        last = " | ".join([line.strip() for line in self.errors.splitlines() if line.strip()][-3:])
        return f"{how}: {last[-SHOWN:]}" if last else how


def run_python(arguments: Sequence[str], seconds: float, variables: Mapping[str, str] | None = None) -> Ended:
    """Run ``python ARGUMENTS``, with more environment variables, and wait for it.

    It works and keeps its caches in a temporary folder, which is gone afterwards; ``{}`` in an argument is its name.
    It knows nothing of the other ranks or nodes of a run that this process may be part of.
    """
    with tempfile.TemporaryDirectory(prefix="smpl-doctor-") as name:
        words = [sys.executable, *(argument.replace("{}", name) for argument in arguments)]
        caches = dict.fromkeys(("TMPDIR", *CACHES, "CUDA_CACHE_PATH"), name)
        output, errors = Path(name, "stdout"), Path(name, "stderr")
        with _started(words, _environment() | caches | dict(variables or {}), output, errors) as process:
            code = _wait(process, seconds)
        return Ended(code, output.read_text(errors="replace"), errors.read_text(errors="replace"))


@contextmanager
def _started(
    words: Sequence[str], environment: dict[str, str], output: Path, errors: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a session of its own; at the end ask it to end as well, and kill what is left."""
    with output.open("wb") as out, errors.open("wb") as err, StopSignal() as stop:  # a signal that comes now waits
        process = subprocess.Popen(  # noqa: S603
            words, cwd=output.parent, env=environment, stdout=out, stderr=err, start_new_session=True
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


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    with suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    return None


def _environment() -> dict[str, str]:
    """Return this process's own, but for what tells of a run's other processes."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in RANKS and (name == "PET_LOCAL_ADDR" or not name.startswith(OTHERS))
    }
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, [kept.get("PYTHONPATH"), str(ROOT)]))}


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
