"""The pools of ops from which RandAugment samples: which ops, how strong, how often, and what goes with them.

The strengths in a pool are linear in the magnitude. The highest magnitude that a pool allows follows from the bounds of
its ops in :data:`OPS`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple


class Op(NamedTuple):
    """The bounds of an op's strength, so that the image's size and range bound every op at every magnitude."""

    lowest: float
    highest: float


OPS: Mapping[str, Op] = {
    "Identity": Op(0, 0),
    "ShearX": Op(-0.5, 0.5),  # pixels sideways per pixel down
    "ShearY": Op(-0.5, 0.5),
    "TranslateX": Op(-0.5, 0.5),  # fraction of the image's width
    "TranslateY": Op(-0.5, 0.5),  # fraction of its height
    "Rotate": Op(-180, 180),  # degrees, counter-clockwise
    "Cutout": Op(0, 0.5),  # side of a square that is filled, fraction of the shorter side
    "Brightness": Op(-1, 3),  # added to a factor of 1; likewise in the next three
    "Color": Op(-1, 3),
    "Contrast": Op(-1, 3),
    "Sharpness": Op(-1, 3),
    "Posterize": Op(0, 7),  # number of low bits that are dropped, of 8
    "Solarize": Op(0, 256),  # levels from 256 - strength up are inverted
    "AutoContrast": Op(0, 1),  # on or off
    "Equalize": Op(0, 1),
    "Invert": Op(0, 1),
}


class Strength(NamedTuple):
    """The strength of an op as a straight line over the magnitude.

    Args:
        zero: strength at magnitude 0.
        ten: strength at magnitude 10.
        signed: whether the strength or its negative is applied, each with probability 1/2.
    """

    zero: float
    ten: float
    signed: bool = False

    @property
    def has_magnitude(self) -> bool:
        return self.zero != self.ten

    def at(self, magnitude: float) -> float:
        return self.zero + (self.ten - self.zero) * magnitude / 10


Ops = Mapping[str, Strength]


def up_to(strength: float) -> Strength:
    return Strength(0, strength)


def either_way(strength: float) -> Strength:
    return Strength(0, strength, signed=True)


def constant(strength: float) -> Strength:
    return Strength(strength, strength)


OFF, ON = constant(0), constant(1)


@dataclass(frozen=True)
class Pool:
    """What RandAugment samples from.

    Args:
        ops: each op's strength, by name; all ops are equally likely.
        probability: bounds of the probability with which an op is applied; each image draws its own, uniformly, for
            all its rounds.
        options: the keys of ``augment`` that belong to the pool, with the values they have unless a recipe sets them.
    """

    ops: Ops
    probability: tuple[float, float] = (1.0, 1.0)
    options: Mapping[str, float | bool] = field(default_factory=lambda: MappingProxyType({}))


CIFAR = Pool(
    {
        "Identity": OFF,
        "ShearX": either_way(0.3),
        "ShearY": either_way(0.3),
        "TranslateX": either_way(1 / 8),
        "TranslateY": either_way(1 / 8),
        "Rotate": either_way(30),
        "Brightness": either_way(0.9),
        "Color": either_way(0.9),
        "Contrast": either_way(0.9),
        "Sharpness": either_way(0.9),
        "Posterize": up_to(4),
        "Solarize": up_to(256),
        "AutoContrast": ON,
        "Equalize": ON,
    }
)
"""RandAugment's 14 ops (Cubuk et al., 2020) with torchvision's ranges, except for translation.

Translation reaches 4 pixels on images of 32. The constants made for ImageNet reach 14 pixels (torchvision) or 100
(MPL's public code for ImageNet).
"""

DIGITS = Pool(
    {
        "Identity": OFF,
        "ShearX": either_way(0.2),
        "ShearY": either_way(0.2),
        "TranslateX": either_way(1 / 8),
        "TranslateY": either_way(1 / 8),
        "Rotate": either_way(15),
        "Brightness": either_way(0.5),
        "Contrast": either_way(0.5),
        "Sharpness": either_way(0.9),
    }
)
"""For small gray digits: no op that mirrors or inverts, and no rotation that turns one digit into another."""

MPL = Pool(
    {
        "AutoContrast": ON,
        "Equalize": ON,
        "Invert": ON,
        "Rotate": either_way(30),
        "Posterize": constant(2),
        "Solarize": constant(256 - 153),
        "Color": Strength(-0.9, 0.9),
        "Contrast": Strength(-0.9, 0.9),
        "Brightness": Strength(-0.9, 0.9),
        "Sharpness": Strength(-0.9, 0.9),
        "ShearX": either_way(0.3),
        "ShearY": either_way(0.3),
        "TranslateX": either_way(1 / 8),
        "TranslateY": either_way(1 / 8),
        "Cutout": up_to(1 / 4),
    },
    probability=(0.2, 0.8),
    options={
        "ops": 2,
        "magnitude": 16,
        "random_magnitude": False,
        "cutout": 16,
        "random_cutout": False,
        "recrop": True,
    },
)
"""The views of CIFAR-10 in the public code of Meta Pseudo Labels, whose level is 16.

Source: google-research/google-research, meta_pseudo_labels: ``RandAugment`` and ``level_to_arg`` in augment.py,
``cifar10_4000_uda`` in data_utils.py, and the command in README.md. At level 16 shears are 0.48, translations 6.4
pixels, rotations 48 degrees, the enhancing ops have a factor of 2.98, and Cutout's square is 12 pixels wide. Posterize
keeps int(0.4 * 16) bits, and Solarize's threshold int(25.6 * 16) = 409 is 153 as a byte; both would get weaker with the
level, so they are constant here.
"""

FIXMATCH = Pool(
    {
        "AutoContrast": ON,
        "Brightness": Strength(-0.05, -0.95),
        "Color": Strength(-0.05, -0.95),
        "Contrast": Strength(-0.05, -0.95),
        "Equalize": ON,
        "Identity": OFF,
        "Posterize": Strength(0.5, 4.5),
        "Rotate": either_way(30),
        "Sharpness": Strength(-0.05, -0.95),
        "ShearX": either_way(0.3),
        "ShearY": either_way(0.3),
        "Solarize": up_to(256),
        "TranslateX": either_way(0.3),
        "TranslateY": either_way(0.3),
    },
    options={"ops": 3, "magnitude": 10, "random_magnitude": True, "cutout": 16, "random_cutout": True},
)
"""The views of FixMatch on CIFAR in USB, with strengths uniform over these ranges.

Source: microsoft/Semi-supervised-learning, semilearn/datasets: ``augment_list`` and ``RandAugment`` in
augmentation/randaugment.py (lines 145 to 201), cv_datasets/cifar.py (line 55). Posterize keeps 4 to 7 bits there, each
as likely; 0.5 to 4.5 dropped bits, rounded, are the same.
"""

POOLS: dict[str, Pool] = {"cifar": CIFAR, "digits": DIGITS, "mpl": MPL, "fixmatch": FIXMATCH}


def check_pool(pool: Pool, magnitude: float) -> None:
    """Raise ValueError unless every op of ``pool`` exists and is within its bounds at ``magnitude`` and below."""
    if not pool.ops:
        raise ValueError("the pool is empty; name at least 'Identity'")
    if unknown := sorted(pool.ops.keys() - OPS.keys()):
        raise ValueError(f"unknown op {unknown[0]!r} in the pool; choose from {', '.join(OPS)}")
    if magnitude < 0:
        raise ValueError(f"magnitude={magnitude:g} is below 0")
    largest = {name: _largest_magnitude(name, strength) for name, strength in pool.ops.items()}
    name = min(largest, key=largest.__getitem__)
    if magnitude > largest[name]:
        reached, most = pool.ops[name].at(magnitude), math.floor(100 * largest[name]) / 100
        raise ValueError(
            f"magnitude={magnitude:g} is above {most:g}, the most that the pool's op {name} allows; "
            f"its strength would be {reached:g}"
        )


def _largest_magnitude(name: str, strength: Strength) -> float:
    """Return the largest magnitude at which the op is within its bounds.

    Raises:
        ValueError: it is outside of them at magnitude 0.
    """
    lowest, highest = OPS[name]
    if strength.signed:
        highest = min(highest, -lowest)
    if not lowest <= strength.zero <= highest:
        raise ValueError(f"pool strength {name}={strength.zero:g} is outside of {lowest:g}..{highest:g}")
    if not strength.has_magnitude:
        return math.inf
    bound = highest if strength.ten > strength.zero else lowest
    return 10 * (bound - strength.zero) / (strength.ten - strength.zero)
