"""The time limit of every wait in the tests.

A test waits until a condition is true or a process has ended, never for a fixed time. The limit only ends a test that
hangs. It is ten times what the longest of these waits takes on two idle cores, so no test fails on a busy machine.
"""

import subprocess
import time
from collections.abc import Callable
from typing import Any

LIMIT_S = 600.0
"""Seconds after which a process or a condition that a test waits for is considered to hang."""
POLL_S = 0.01
"""Seconds between two checks of a condition."""


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[Any] | None" = None) -> None:
    """Return once ``condition()`` is true.

    Raises AssertionError after ``LIMIT_S`` seconds, or if ``process``, which is to make it true, ends before.
    """
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert process is None or process.poll() is None, f"the process ended with exit code {process.returncode}"
        assert time.monotonic() < deadline, f"the condition was not true after {LIMIT_S:g} seconds"
        time.sleep(POLL_S)
