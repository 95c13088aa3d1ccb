"""The section ``augment`` of a recipe, and the two views that are built from it."""

from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import Field, field_validator

from pipeline.data.augment.autoaugment import AutoAugment
from pipeline.data.augment.cutout import Cutout
from pipeline.data.augment.policies import CIFAR10_POLICY, IMAGENET_POLICY, SVHN_POLICY
from pipeline.data.augment.pools import POOLS
from pipeline.data.augment.randaugment import RandAugment
from pipeline.data.augment.view import Chain, View
from pipeline.data.augment.weak import WeakView
from pipeline.options import Options

PolicyName = Literal["randaugment", "autoaugment-cifar10", "autoaugment-svhn", "autoaugment-imagenet"]


class AugmentOptions(Options):
    """How views are made. The defaults are CIFAR's, at 32 pixels."""

    size: int | None = Field(
        None,
        ge=8,
        description="Side in pixels of the views of images of many sizes, 224 if absent; images that all have another "
        "size are then cropped and resized as well, by a loader that streams.",
    )
    scale: float = Field(
        0.08,
        gt=0,
        le=1,
        description="Random resized crop to `size`: smallest fraction of an image's area that it keeps.",
    )
    labeled: Literal["weak", "strong"] = Field("weak", description="View that labeled images are learned from.")
    flip: bool = Field(True, description="Mirror left to right with probability 1/2. Off for digits.")
    pad: int = Field(4, ge=0, description="Padding of the random crop, pixels; at most a quarter of the shorter side.")
    policy: PolicyName = Field(
        "randaugment", description="Ops of the strong view; the learned autoaugment-* read none of RandAugment's keys."
    )
    pool: str = Field("cifar", description="RandAugment: its ops, cifar or digits.")
    ops: int = Field(2, ge=0, le=8, description="RandAugment: rounds (N).")
    magnitude: float = Field(10, ge=0, le=10, description="RandAugment: magnitude (M); 10 is the pool's own strength.")
    random_magnitude: bool = Field(
        True, description="RandAugment: draw the magnitude uniformly below `magnitude`, per sample and op."
    )
    recrop: bool = Field(False, description="Mirror and crop again after the policy, as the official MPL code does.")
    cutout: int = Field(16, ge=0, description="Side of cutout's square, pixels; at most half of the shorter side.")
    fill: int = Field(128, ge=0, le=255, description="Gray level of padding, of uncovered corners and of cutout.")

    @field_validator("pool")
    @classmethod
    def _known_pool(cls, name: str) -> str:
        if name not in POOLS:
            raise ValueError(f"unknown pool {name!r}; choose from {', '.join(POOLS)}")
        return name


def _randaugment(options: AugmentOptions) -> View:
    return RandAugment(POOLS[options.pool], options.ops, options.magnitude, options.random_magnitude, options.fill)


STRONG: Mapping[PolicyName, Callable[[AugmentOptions], View]] = {
    "randaugment": _randaugment,
    "autoaugment-cifar10": lambda options: AutoAugment(CIFAR10_POLICY, options.fill),
    "autoaugment-svhn": lambda options: AutoAugment(SVHN_POLICY, options.fill),
    "autoaugment-imagenet": lambda options: AutoAugment(IMAGENET_POLICY, options.fill),
}


def build_views(options: AugmentOptions, height: int, width: int) -> tuple[View, View]:
    """Return the (weak, strong) views for images of ``height`` x ``width`` pixels.

    Both start from the stored image. The strong view mirrors and crops with random numbers of its own.

    Raises:
        ValueError: an option is too large for such images.
    """
    side = min(height, width)
    _check_bound("pad", options.pad, side // 4, f"a quarter of the shorter side of {height} x {width} images")
    _check_bound("cutout", options.cutout, side // 2, f"half of the shorter side of {height} x {width} images")
    weak = WeakView(options.flip, options.pad, options.fill)
    policy = STRONG[options.policy](options)
    again = (weak,) if options.recrop else ()
    return weak, Chain(weak, policy, *again, Cutout(options.cutout, options.fill))


def _check_bound(name: str, value: int, most: int, reason: str) -> None:
    if value > most:
        raise ValueError(f"{name}={value} is above {most}, {reason}")
