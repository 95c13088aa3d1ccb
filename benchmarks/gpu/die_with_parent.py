"""``python die_with_parent.py ARGUMENTS``: become ``python ARGUMENTS``, which gets SIGTERM when its parent ends.

A parent that is killed cannot stop its children, so this asks Linux to do it; the request survives ``exec``. This is a
program of its own because running Python code between ``fork`` and ``exec`` is not safe in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""The option of prctl(2)."""


def main() -> None:
    """Ask for SIGTERM at the parent's end, then run Python with the arguments."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
