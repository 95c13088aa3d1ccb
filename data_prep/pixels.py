"""Exact channel statistics: sums of integers, so neither order nor process count can change a bit."""

import math
from fractions import Fraction

import numpy as np

from data_prep.images import Pixels
from data_prep.split import Labels

CHUNK = 4096


def channel_statistics(images: Pixels, indices: Labels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation per channel, on the 0..255 scale, of uint8 [N, H, W, C] at ``indices``."""
    channels = images.shape[3]
    total, squares = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for start in range(0, len(indices), CHUNK):
        pixels = images[indices[start : start + CHUNK]].reshape(-1, channels)
        total += pixels.sum(axis=0, dtype=np.int64)
        squares += np.square(pixels, dtype=np.uint32).sum(axis=0, dtype=np.int64)
    count = len(indices) * images.shape[1] * images.shape[2]
    mean = [Fraction(int(value), count) for value in total]
    variance = [Fraction(int(value), count) - center**2 for value, center in zip(squares, mean, strict=True)]
    return tuple(map(float, mean)), tuple(math.sqrt(value) for value in variance)
