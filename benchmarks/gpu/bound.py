"""``python bound.py WORDS``: become ``python WORDS``, which is asked to stop when its parent ends, however it ends.

A parent that is killed cannot stop its children; so Linux is asked to. What is asked for outlasts the ``exec``. It is a
program of its own, since a fork that runs Python before its ``exec`` is not safe beside other threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""


def main() -> None:
    """Bind this process to its parent and run the words."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
