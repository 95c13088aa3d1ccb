"""Run pieces one after another until the minutes are used up; pieces that are done are not run again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu.history import Ending, History
from benchmarks.gpu.piece import Piece
from data_prep.system.atomic_files import make_folder
from data_prep.system.cli import STOPPED

ROOT = Path(__file__).parents[2]
GRACE_S = 20.0
"""Seconds between SIGTERM and SIGKILL for a piece that is stopped."""
SHOWN_LINES = 12
"""Number of last lines of a failed piece's log to print."""
DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
Report = Callable[[str], None]
"""Receives a line about a piece."""


@dataclass
class CallSummary:
    """The names of the pieces by what this call did with them."""

    before: list[str] = field(default_factory=list)
    """Pieces that an earlier call finished."""
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 if a piece failed, 4 if pieces are left, else 0."""
        return 1 if self.failed else STOPPED if self.left else 0

    def lines(self) -> Iterator[str]:
        """Yield a line for each list that is not empty."""
        kinds = {"done before": self.before, "done now": self.done, "failed": self.failed, "left": self.left}
        for kind, names in kinds.items():
            if names:
                yield f"{kind}: {', '.join(names)}"


def run_pieces(
    pieces: Sequence[Piece], folder: Path, minutes: float, report: Report, elapsed: float = 0.0
) -> CallSummary:
    """Run the pieces that are not done and expected to end in time; those that failed in an earlier call come last.

    A piece is left if a piece that it requires is not done. A failure does not keep the other pieces from running.

    Args:
        pieces: all pieces of this call, in order.
        folder: the suite's folder of results.
        minutes: time limit of the call.
        report: receives a line about each piece.
        elapsed: seconds of the limit that have passed already.
    """
    make_folder(folder / "logs")
    deadline = time.monotonic() + 60 * minutes - elapsed
    history = History(folder)
    history.close_interrupted()
    summary = CallSummary(before=[piece.name for piece in pieces if piece.done(folder)])
    lists = {Ending.DONE: summary.done, Ending.FAILED: summary.failed, Ending.STOPPED: summary.left}
    todo = [piece for piece in pieces if not piece.done(folder)]
    for piece in sorted(todo, key=lambda piece: piece.failed(folder)):
        seconds = deadline - time.monotonic()
        missing = [other.name for other in piece.requires if not other.done(folder)]
        if missing or 60 * piece.minutes_needed > seconds:
            summary.left.append(piece.name)
            report(f"{piece.name}: {_why_left(piece, missing, seconds, minutes)}")
            continue
        report(f"{piece.name}: about {piece.minutes:g} minutes ...")
        lists[_run_and_record(piece, folder, seconds, report, history)].append(piece.name)
    return summary


def _run_and_record(piece: Piece, folder: Path, seconds: float, report: Report, history: History) -> Ending:
    """Run a piece and record its ending, even if the call is stopped."""
    started, ending = time.monotonic(), Ending.STOPPED
    history.record_start(piece, seconds / 60)
    try:
        ending = run_piece(piece, folder, seconds, report)
    finally:
        history.record_end(piece, ending, (time.monotonic() - started) / 60)
    return ending


def run_piece(piece: Piece, folder: Path, seconds: float, report: Report) -> Ending:
    """Run a piece for at most ``seconds``; append its output to its log."""
    started = time.monotonic()
    with piece.log(folder).open("ab") as log, _process(piece, log.fileno()) as process:
        try:
            code = process.wait(max(0.0, seconds - GRACE_S))
        except subprocess.TimeoutExpired:
            code = _stop(process)
    took = f"{(time.monotonic() - started) / 60:.1f} minutes"
    if code == 0 and piece.done(folder):
        piece.failure_mark(folder).unlink(missing_ok=True)
        report(f"{piece.name}: done in {took}")
        return Ending.DONE
    if code in {STOPPED, -signal.SIGTERM, -signal.SIGKILL} and time.monotonic() - started >= seconds - GRACE_S:
        report(f"{piece.name}: stopped after {took}; the next call {piece.next_call}")
        return Ending.STOPPED
    piece.failure_mark(folder).touch()
    report(f"{piece.name}: failed after {took} (exit code {code}); the last lines of {piece.log(folder)}:")
    for line in piece.log(folder).read_text(errors="replace").splitlines()[-SHOWN_LINES:]:
        report(f"    {line}")
    return Ending.FAILED


@contextmanager
def _process(piece: Piece, log: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the piece in a process group of its own; stop the whole group at the end of the context."""
    command = [sys.executable, "-I", str(DIE_WITH_PARENT), *piece.arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"} | dict(piece.environment)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(command, stdout=log, stderr=log, env=environment, process_group=0) as process:  # noqa: S603
        try:
            yield process
        finally:
            _stop(process)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # processes that it started and left behind


def _stop(process: "subprocess.Popen[bytes]") -> int:
    """Send SIGTERM, then SIGKILL if the process does not end in time; return its exit code."""
    process.terminate()
    try:
        return process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _why_left(piece: Piece, missing: Sequence[str], seconds: float, minutes: float) -> str:
    if missing:
        return f"left, because it needs the result of {' and '.join(missing)}"
    if piece.minutes_needed > minutes:
        return f"left, because it needs --minutes {piece.minutes_needed:g}"
    return f"left, because it needs {piece.minutes_needed:g} minutes and {max(0.0, seconds) / 60:.1f} remain"
