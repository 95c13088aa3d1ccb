"""The pools of ops from which RandAugment samples, and how strong each op can be.

A pool is a table from the name of an op to its strength at magnitude 10.
"""

from collections.abc import Mapping
from typing import NamedTuple

Pool = Mapping[str, float]


class Op(NamedTuple):
    """What the strength of an op means.

    Args:
        limit: the highest strength that a pool may give it, so that the image's size and range bound every op.
        signed: whether the strength or its negative is applied, each with probability 1/2.
        has_magnitude: whether the magnitude scales the strength; otherwise the op is on or off.
    """

    limit: float
    signed: bool = False
    has_magnitude: bool = True


OPS: Mapping[str, Op] = {
    "Identity": Op(0, has_magnitude=False),
    "ShearX": Op(0.5, signed=True),  # pixels sideways per pixel down
    "ShearY": Op(0.5, signed=True),
    "TranslateX": Op(0.5, signed=True),  # fraction of the image's width
    "TranslateY": Op(0.5, signed=True),  # fraction of its height
    "Rotate": Op(180, signed=True),  # degrees, counter-clockwise
    "Brightness": Op(1, signed=True),  # added to a factor of 1; likewise in the next three
    "Color": Op(1, signed=True),
    "Contrast": Op(1, signed=True),
    "Sharpness": Op(1, signed=True),
    "Posterize": Op(7),  # number of low bits that are dropped, of 8
    "Solarize": Op(256),  # levels from 256 - strength up are inverted
    "AutoContrast": Op(1, has_magnitude=False),
    "Equalize": Op(1, has_magnitude=False),
    "Invert": Op(1, has_magnitude=False),
}

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
"""RandAugment's 14 ops (Cubuk et al., 2020) with torchvision's ranges, except for translation.

Translation reaches 4 pixels on images of 32. The constants made for ImageNet reach 14 pixels (torchvision) or 160
(public MPL code, whose views are then often blank).
"""

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
"""For small gray digits: no op that mirrors or inverts, and no rotation that turns one digit into another."""

POOLS: dict[str, Pool] = {"cifar": CIFAR, "digits": DIGITS}


def check_pool(pool: Pool) -> None:
    """Raise ValueError unless every op of ``pool`` exists and its strength is within its limit."""
    if not pool:
        raise ValueError("the pool is empty; name at least 'Identity'")
    if unknown := sorted(pool.keys() - OPS.keys()):
        raise ValueError(f"unknown op {unknown[0]!r} in the pool; choose from {', '.join(OPS)}")
    for name, strength in pool.items():
        if not 0 <= strength <= OPS[name].limit:
            raise ValueError(f"pool strength {name}={strength} is outside of 0..{OPS[name].limit:g}")
