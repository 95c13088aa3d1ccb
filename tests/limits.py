"""The time limit of every wait in the tests.

A test waits for a condition or for the end of a process, never for a time. The limit only ends what hangs: it is ten
times what the slowest of these waits takes on two idle cores, so that no test fails because the machine is busy.
"""

import subprocess
import time
from collections.abc import Callable
from typing import Any

LIMIT_S = 600.0
"""Seconds after which a process or a condition that a test waits for is taken to hang."""
POLL_S = 0.01
"""Seconds between two looks at a condition."""


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[Any] | None" = None) -> None:
    """Return once ``condition()`` is true.

    Raises AssertionError after ``LIMIT_S`` seconds, or if ``process``, which is to make it true, ends before.
    """
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert process is None or process.poll() is None, f"the process ended with exit code {process.returncode}"
        assert time.monotonic() < deadline, f"the condition was not true after {LIMIT_S:g} seconds"
        time.sleep(POLL_S)
