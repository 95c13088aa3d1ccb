"""The section ``augment`` of a recipe, and the two views that are built from it."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.data.augment.autoaugment import AutoAugment
from pipeline.data.augment.cutout import Cutout
from pipeline.data.augment.policies import CIFAR10_POLICY, IMAGENET_POLICY, SVHN_POLICY
from pipeline.data.augment.pools import POOLS, check_pool
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
    flip: bool | Literal["alternate"] = Field(
        True,
        description="Mirror left to right with probability 1/2, or each image in every second epoch (`alternate`). Off "
        "for digits.",
    )
    pad: int = Field(4, ge=0, description="Padding of the random crop, pixels; at most a quarter of the shorter side.")
    policy: PolicyName = Field(
        "randaugment", description="Ops of the strong view; the learned autoaugment-* read none of RandAugment's keys."
    )
    pool: str = Field(
        "cifar",
        description="RandAugment: its ops. cifar and digits are ours; mpl and fixmatch are the public views of MPL and "
        "of USB's FixMatch, and set ops, magnitude, random_magnitude, cutout, random_cutout and recrop where absent.",
    )
    ops: int = Field(2, ge=0, le=8, description="RandAugment: rounds (N).")
    magnitude: float = Field(
        10, ge=0, description="RandAugment: magnitude (M); 10 is the pool's own strength, and its ops bound it."
    )
    random_magnitude: bool = Field(
        True, description="RandAugment: draw the magnitude uniformly below `magnitude`, per sample and op."
    )
    cutout: int = Field(16, ge=0, description="Side of cutout's square, pixels; at most half of the shorter side.")
    random_cutout: bool = Field(False, description="Draw the side of cutout's square uniformly from 1 to `cutout`.")
    recrop: bool = Field(False, description="Mirror and crop again after cutout, as MPL's public code does.")
    fill: int = Field(128, ge=0, le=255, description="Gray level of padding, of uncovered corners and of cutout.")

    @model_validator(mode="before")
    @classmethod
    def _set_the_pool_s_options(cls, values: Any) -> Any:
        """Add the options that belong to the pool, unless ``values`` has its own; a learned policy reads no pool."""
        if not isinstance(values, Mapping) or values.get("policy", "randaugment") != "randaugment":
            return values
        pool = values.get("pool")
        return {**POOLS[pool].options, **values} if isinstance(pool, str) and pool in POOLS else values

    @field_validator("flip", mode="before")
    @classmethod
    def _known_flip(cls, flip: object) -> object:
        if not isinstance(flip, bool) and flip != "alternate":
            raise ValueError(f"should be true, false or alternate, not {flip!r}")
        return flip

    @field_validator("pool")
    @classmethod
    def _known_pool(cls, name: str) -> str:
        if name not in POOLS:
            raise ValueError(f"unknown pool {name!r}; choose from {', '.join(POOLS)}")
        return name

    @field_validator("magnitude")
    @classmethod
    def _within_the_pool_s_bounds(cls, magnitude: float, info: ValidationInfo) -> float:
        if pool := info.data.get("pool"):
            check_pool(POOLS[pool], magnitude)
        return magnitude


def drop_options_of_another_pool(recipe: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's section ``augment`` for flags that may name another pool.

    The new pool brings options of its own. Those of the recipe were chosen for its own pool, so they are left out.
    """
    pool = flags.get("pool", recipe.get("pool"))
    if pool == recipe.get("pool") or not isinstance(pool, str) or pool not in POOLS:
        return dict(recipe)
    return {key: value for key, value in recipe.items() if key not in POOLS[pool].options}


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

    Both start from the stored image. The strong view mirrors and crops with random numbers of its own. With the flip
    ``alternate`` neither mirrors, since :func:`flip_alternately` does it before.

    Raises:
        ValueError: an option is too large for such images.
    """
    side = min(height, width)
    _check_bound("pad", options.pad, side // 4, f"a quarter of the shorter side of {height} x {width} images")
    _check_bound("cutout", options.cutout, side // 2, f"half of the shorter side of {height} x {width} images")
    weak = WeakView(options.flip is True, options.pad, options.fill)
    policy = STRONG[options.policy](options)
    cutout = Cutout(options.cutout, options.fill, options.random_cutout)
    again = (weak,) if options.recrop else ()
    return weak, Chain(weak, policy, cutout, *again)


def _check_bound(name: str, value: int, most: int, reason: str) -> None:
    if value > most:
        raise ValueError(f"{name}={value} is above {most}, {reason}")
