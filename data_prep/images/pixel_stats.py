"""Sums of pixel values and of their squares per channel, which give the mean and the standard deviation."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np

from data_prep.images.codecs import Values
from data_prep.system.types import Labels

_LEVELS = np.arange(256)
_SQUARES = _LEVELS**2


@dataclass(frozen=True)
class Sums:
    """Exact sums of values and of their squares, which do not depend on the order of the images."""

    count: int = 0
    """The number of pixels."""
    total: tuple[int | Fraction, ...] = ()
    """The sum of the values of each channel."""
    squares: tuple[int | Fraction, ...] = ()
    """The sum of the squared values of each channel."""

    @classmethod
    def of_image(cls, image: Values) -> Self:
        """Return the sums of one image [H, W, C], uint8 or float32."""
        columns = image.reshape(-1, image.shape[2]).T
        if image.dtype == np.uint8:
            return cls.of_levels(np.stack([np.bincount(column, minlength=256) for column in columns]))
        values = [[Fraction(float(value)) for value in column] for column in columns]
        squares = (sum((value**2 for value in column), Fraction()) for column in values)
        return cls(columns.shape[1], tuple(sum(column, Fraction()) for column in values), tuple(squares))

    @classmethod
    def of_levels(cls, levels: Labels) -> Self:
        """Return the sums of a uint8 image from the histograms of its channels, int64 [C, 256]."""
        total, squares = levels @ _LEVELS, levels @ _SQUARES
        return cls(int(levels[0].sum()), tuple(total.tolist()), tuple(squares.tolist()))

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean and the population standard deviation per channel, in the unit of the values."""
        mean = [Fraction(value) / self.count for value in self.total]
        variance = [Fraction(value) / self.count - center**2 for value, center in zip(self.squares, mean, strict=True)]
        return tuple(map(float, mean)), tuple(map(math.sqrt, variance))

    def __add__(self, other: "Sums") -> "Sums":
        if not self.count or not other.count:
            return self if self.count else other
        total = tuple(mine + theirs for mine, theirs in zip(self.total, other.total, strict=True))
        squares = tuple(mine + theirs for mine, theirs in zip(self.squares, other.squares, strict=True))
        return Sums(self.count + other.count, total, squares)
