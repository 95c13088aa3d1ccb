"""Sums of pixel values and of their squares, channel by channel, from which mean and deviation follow."""

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
    """Exact sums of values and of their squares, per channel: they add up to the same in any order."""

    count: int = 0
    """Pixels."""
    total: tuple[int | Fraction, ...] = ()
    squares: tuple[int | Fraction, ...] = ()

    @classmethod
    def of_image(cls, image: Values) -> Self:
        """Add up one image [H, W, C] of whole or floating values."""
        columns = image.reshape(-1, image.shape[2]).T
        if image.dtype == np.uint8:
            return cls.of_levels(np.stack([np.bincount(column, minlength=256) for column in columns]))
        values = [[Fraction(float(value)) for value in column] for column in columns]
        squares = (sum((value**2 for value in column), Fraction()) for column in values)
        return cls(columns.shape[1], tuple(sum(column, Fraction()) for column in values), tuple(squares))

    @classmethod
    def of_levels(cls, levels: Labels) -> Self:
        """Add up an image of whole values by its histogram, int [C, 256]."""
        total, squares = levels @ _LEVELS, levels @ _SQUARES
        return cls(int(levels[0].sum()), tuple(total.tolist()), tuple(squares.tolist()))

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and population standard deviation per channel, in the values' own units."""
        mean = [Fraction(value) / self.count for value in self.total]
        variance = [Fraction(value) / self.count - center**2 for value, center in zip(self.squares, mean, strict=True)]
        return tuple(map(float, mean)), tuple(map(math.sqrt, variance))

    def __add__(self, other: "Sums") -> "Sums":
        if not self.count or not other.count:
            return self if self.count else other
        total = tuple(mine + theirs for mine, theirs in zip(self.total, other.total, strict=True))
        squares = tuple(mine + theirs for mine, theirs in zip(self.squares, other.squares, strict=True))
        return Sums(self.count + other.count, total, squares)
