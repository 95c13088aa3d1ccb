"""Keep freed memory in the process: a training step on a CPU asks for the same blocks again and again.

The C library gives great blocks back to the kernel at once, and the kernel clears each page before it hands it out
again. A view of a batch, a layer's activations and every gradient are such blocks.
"""

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` (malloc.h of the GNU C library)."""
GIGABYTE = 1 << 30
GREATEST = 32 << 20
"""What older versions of the library take at most for blocks of their own."""


def keep_memory() -> None:
    """Let this process keep up to a gigabyte at the end of its heap, and put blocks up to that size there.

    Another C library than GNU's is left as it is.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM_THRESHOLD, GIGABYTE)
        if not mallopt(MMAP_THRESHOLD, GIGABYTE):
            mallopt(MMAP_THRESHOLD, GREATEST)
