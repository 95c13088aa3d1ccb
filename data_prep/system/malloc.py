"""Keep freed memory in the process, since the next image or training step needs blocks of the same size.

The C library returns large blocks to the kernel at once, and the kernel clears each page before it allocates it again.
Decoded images, activations and gradients are such blocks.
"""

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of ``mallopt``, from malloc.h of the GNU C library."""
GIGABYTE = 1 << 30


def keep_memory() -> None:
    """Allocate all blocks from the heap of this process, and keep up to a gigabyte of free memory at its end.

    This has an effect with the GNU C library only.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, GIGABYTE)
