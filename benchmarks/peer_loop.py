"""What ``mpl_pytorch_loop.py`` and ``usb_loop.py`` share: random images, and the end of a loop."""

import numpy as np


class AllStepsTimedError(Exception):
    """Ends another project's loop once all steps are timed."""


def random_images(count: int) -> np.ndarray:
    """Return random images of CIFAR's size, uint8 [count, 32, 32, 3]; they are the same in every call."""
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
