"""Runs pieces one after another as long as the minutes last; what is done already is not done again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu.journal import Ending, Journal
from benchmarks.gpu.piece import Piece
from data_prep.system.atomic_files import make_folder
from data_prep.system.cli import STOPPED

ROOT = Path(__file__).parents[2]
GRACE_S = 20.0
"""Between the signal that asks a piece to stop and the one that it cannot refuse."""
SHOWN = 12
"""Last lines of a failed piece's log that are shown."""
BOUND = Path(__file__).with_name("bound.py")
Tell = Callable[[str], None]


@dataclass
class Tally:
    """What a call did with each piece, by name."""

    before: list[str] = field(default_factory=list)
    """Done by an earlier call."""
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 if a piece failed, 4 if something is left to go on with, else 0."""
        return 1 if self.failed else STOPPED if self.left else 0

    def lines(self) -> Iterator[str]:
        """Yield a line for each kind that is not empty."""
        kinds = {"done before": self.before, "done now": self.done, "failed": self.failed, "left": self.left}
        for kind, names in kinds.items():
            if names:
                yield f"{kind}: {', '.join(names)}"


def run_pieces(pieces: Sequence[Piece], folder: Path, minutes: float, tell: Tell, gone: float = 0.0) -> Tally:
    """Run what is not done and expected to end in time; those that failed in an earlier call come last.

    A piece that waits for another is left if that one is not done; one that fails does not keep the rest from running.
    Of the call's minutes ``gone`` seconds are gone already.
    """
    make_folder(folder / "logs")
    deadline = time.monotonic() + 60 * minutes - gone
    journal = Journal(folder)
    journal.settle()
    tally = Tally(before=[piece.name for piece in pieces if piece.done(folder)])
    todo = [piece for piece in pieces if not piece.done(folder)]
    for piece in sorted(todo, key=lambda piece: piece.failed(folder)):
        seconds = deadline - time.monotonic()
        waits = [other.name for other in piece.after if not other.done(folder)]
        if waits or 60 * piece.needs > seconds:
            tally.left.append(piece.name)
            tell(f"{piece.name}: {_why_left(piece, waits, seconds, minutes)}")
            continue
        tell(f"{piece.name}: about {piece.minutes:g} minutes ...")
        ending = _noted(piece, folder, seconds, tell, journal)
        {Ending.DONE: tally.done, Ending.FAILED: tally.failed, Ending.STOPPED: tally.left}[ending].append(piece.name)
    return tally


def _noted(piece: Piece, folder: Path, seconds: float, tell: Tell, journal: Journal) -> Ending:
    """Run a piece and note it, even if the call is stopped."""
    started, ending = time.monotonic(), Ending.STOPPED
    journal.begin(piece, seconds / 60)
    try:
        ending = run_piece(piece, folder, seconds, tell)
    finally:
        journal.end(piece, ending, (time.monotonic() - started) / 60)
    return ending


def run_piece(piece: Piece, folder: Path, seconds: float, tell: Tell) -> Ending:
    """Run a piece for at most so long; its output is added to its log."""
    started = time.monotonic()
    with piece.log(folder).open("ab") as log, _process(piece, log.fileno()) as process:
        try:
            code = process.wait(max(0.0, seconds - GRACE_S))
        except subprocess.TimeoutExpired:
            code = _stop(process)
    took = f"{(time.monotonic() - started) / 60:.1f} minutes"
    if code == 0 and piece.done(folder):
        piece.mark(folder).unlink(missing_ok=True)
        tell(f"{piece.name}: done in {took}")
        return Ending.DONE
    if code in {STOPPED, -signal.SIGTERM, -signal.SIGKILL} and time.monotonic() - started >= seconds - GRACE_S:
        tell(f"{piece.name}: stopped after {took}; the next call {piece.then}")
        return Ending.STOPPED
    piece.mark(folder).touch()
    tell(f"{piece.name}: failed after {took} (exit code {code}); {piece.log(folder)} ends so:")
    for line in piece.log(folder).read_text(errors="replace").splitlines()[-SHOWN:]:
        tell(f"    {line}")
    return Ending.FAILED


@contextmanager
def _process(piece: Piece, log: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Give the piece's process, the first of a group of its own; whatever ends the block, none of it is left."""
    command = [sys.executable, "-I", str(BOUND), *piece.words]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"} | dict(piece.environment)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(command, stdout=log, stderr=log, env=environment, process_group=0) as process:  # noqa: S603
        try:
            yield process
        finally:
            _stop(process)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started and left behind


def _stop(process: "subprocess.Popen[bytes]") -> int:
    """Ask the process to end, and end it if it does not; return its exit code."""
    process.terminate()
    try:
        return process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _why_left(piece: Piece, waits: Sequence[str], seconds: float, minutes: float) -> str:
    if waits:
        return f"left, for it waits for {' and '.join(waits)}"
    if piece.needs > minutes:
        return f"left, for it needs --minutes {piece.needs:g}"
    return f"left, for it needs {piece.needs:g} minutes and {max(0.0, seconds) / 60:.1f} are there"
