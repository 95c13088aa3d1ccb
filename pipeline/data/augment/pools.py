"""Which ops RandAugment draws from, and how strong each one gets.

A pool is a table: op name to its strength at magnitude 10. To define another, write another table.
"""

from collections.abc import Mapping
from typing import NamedTuple

Pool = Mapping[str, float]


class Op(NamedTuple):
    """What a strength of this op means.

    Args:
        limit: the greatest strength a pool may give it; it keeps every op bounded by the image's own size and range.
        signed: whether each draw takes the strength or its negative with even odds.
        has_magnitude: whether the magnitude scales the strength; otherwise the op is on or off.
    """

    limit: float
    signed: bool = False
    has_magnitude: bool = True


OPS: Mapping[str, Op] = {
    "Identity": Op(0, has_magnitude=False),
    "ShearX": Op(0.5, signed=True),  # pixels sideways per pixel down
    "ShearY": Op(0.5, signed=True),
    "TranslateX": Op(0.5, signed=True),  # part of the image's width
    "TranslateY": Op(0.5, signed=True),  # part of its height
    "Rotate": Op(180, signed=True),  # degrees, counter-clockwise
    "Brightness": Op(1, signed=True),  # added to a factor of 1, here and in the next three
    "Color": Op(1, signed=True),
    "Contrast": Op(1, signed=True),
    "Sharpness": Op(1, signed=True),
    "Posterize": Op(7),  # low bits dropped, of 8
    "Solarize": Op(256),  # levels from 256 - strength up are inverted
    "AutoContrast": Op(1, has_magnitude=False),
    "Equalize": Op(1, has_magnitude=False),
    "Invert": Op(1, has_magnitude=False),
}

# RandAugment's 14 ops (Cubuk et al., 2020) with torchvision's ranges, but for translation: 4 pixels at 32, where the
# ImageNet constants reach 14 (torchvision) or 160 (public MPL code, whose views are then often blank).
CIFAR: Pool = {
    "Identity": 0,
    "ShearX": 0.3,
    "ShearY": 0.3,
    "TranslateX": 1 / 8,
    "TranslateY": 1 / 8,
    "Rotate": 30,
    "Brightness": 0.9,
    "Color": 0.9,
    "Contrast": 0.9,
    "Sharpness": 0.9,
    "Posterize": 4,
    "Solarize": 256,
    "AutoContrast": 1,
    "Equalize": 1,
}

# Small gray glyphs: nothing that mirrors, inverts or turns one digit into another.
DIGITS: Pool = {
    "Identity": 0,
    "ShearX": 0.2,
    "ShearY": 0.2,
    "TranslateX": 1 / 8,
    "TranslateY": 1 / 8,
    "Rotate": 15,
    "Brightness": 0.5,
    "Contrast": 0.5,
    "Sharpness": 0.9,
}

POOLS: dict[str, Pool] = {"cifar": CIFAR, "digits": DIGITS}


def check_pool(pool: Pool) -> None:
    """Raise ValueError unless every op of ``pool`` exists and keeps to its limit."""
    if not pool:
        raise ValueError("the pool is empty; name at least 'Identity'")
    if unknown := sorted(pool.keys() - OPS.keys()):
        raise ValueError(f"unknown op {unknown[0]!r} in the pool; choose from {', '.join(OPS)}")
    for name, strength in pool.items():
        if not 0 <= strength <= OPS[name].limit:
            raise ValueError(f"pool strength {name}={strength} is outside of 0..{OPS[name].limit:g}")
