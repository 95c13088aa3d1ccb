"""``python guard.py WORDS``: run ``python WORDS`` until it ends or the caller does, and leave no process behind.

The caller holds the other end of standard input. It is closed however the caller ends, even if that is killed; so one
mechanism serves a time limit, a signal and a crash.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def main() -> int:
    """Run the words; return the exit code, or 128 and the signal's number."""
    with subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.DEVNULL, process_group=0) as process:  # noqa: S603
        threading.Thread(target=_kill_after_caller, args=(process.pid,), daemon=True).start()
        code = process.wait()
    _kill(process.pid)  # what it has started and left running
    return code if code >= 0 else 128 - code


def _kill_after_caller(group: int) -> None:
    os.read(sys.stdin.fileno(), 1)
    _kill(group)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
