"""Keep freed memory in the process: one image, or one training step on a CPU, needs the same blocks as the next.

The C library gives great blocks back to the kernel at once, and the kernel clears each page before it hands it out
again. A decoded picture is such a block, and so are a layer's activations and every gradient.
"""

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of ``mallopt``, of malloc.h of the GNU C library."""
GIGABYTE = 1 << 30


def keep_memory() -> None:
    """Let this process take every block from its heap, and keep up to a gigabyte that is free at the end of it.

    Another C library than GNU's is left as it is.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, GIGABYTE)
