"""Run the commands of a part within its time, and save what it has measured every few seconds."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import Part
from benchmarks.record import save_record
from data_prep.system.atomic_files import make_folder

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
GUARD = Path(__file__).with_name("guard.py")
SAVE_S = 5.0
"""Seconds between two times that the rows of a running part are saved."""
SHOWN_LINES = 12
"""Number of last lines of a log to show when a command failed."""
DONE, CUT, FAILED = "done", "cut", "failed"
"""How a part ended. Until then its result says ``running``, and for ever if the suite is killed."""


def run_part(part: Part, folder: Path, path: Path, deadline: float, commit: str | None) -> str:
    """Run a part until it or its time ends, and return how it ended.

    Args:
        part: the part.
        folder: its folder, which is emptied first.
        path: its result, which always has the rows that are known so far.
        deadline: the end of the whole call, by :func:`time.monotonic`.
        commit: the commit to record; None for what git says.
    """
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    began, started = time.time(), time.monotonic()

    def save(ending: str) -> None:
        minutes = round((time.monotonic() - started) / 60, 2)
        facts: dict[str, Any] = {"ending": ending, "minutes": minutes} | ({"commit": commit} if commit else {})
        save_record(path, part.rows(folder, began), facts)

    ending = CUT
    try:
        ending = _run_commands(part, folder, min(part.seconds, deadline - started), partial(save, "running"))
    finally:
        save(ending)
    return ending


def _run_commands(part: Part, folder: Path, seconds: float, save: Callable[[], None]) -> str:
    """Run the commands one after another; one that fails does not keep the next ones from running."""
    limit, ending, log = time.monotonic() + seconds, DONE, folder / "log"
    for words in part.commands(folder, seconds):
        code = _run_until(limit, words, log, part, save)
        if code is None:
            return ending if ending == FAILED else CUT
        if code:
            ending = FAILED
            last = log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
            logger.error("%s: exit code %d; the end of %s:\n%s", part.name, code, log, "\n".join(last))
    return ending


def _run_until(limit: float, words: Sequence[str], log: Path, part: Part, save: Callable[[], None]) -> int | None:
    """Run ``python WORDS`` in the checkout; return its exit code, or None if it was killed at the limit."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", **part.environment}
    command = [sys.executable, "-I", str(GUARD), *words]
    with (
        log.open("ab") as output,
        subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=ROOT, env=environment, process_group=0
        ) as guard,  # at the end of this statement, however it ends, the guard's input is closed and its end awaited
    ):
        while (left := limit - time.monotonic()) > 0:
            save()
            with suppress(subprocess.TimeoutExpired):
                return guard.wait(min(left, SAVE_S))
    return None
