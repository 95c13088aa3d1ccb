"""The augmentation part of a recipe, and the two views that it stands for."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.data.augment.cutout import Cutout
from pipeline.data.augment.pools import POOLS
from pipeline.data.augment.randaugment import RandAugment
from pipeline.data.augment.view import Chain, View
from pipeline.data.augment.weak import WeakView


class AugmentOptions(BaseModel):
    """How views are made. The defaults are CIFAR's, at 32 pixels."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    labeled: Literal["weak", "strong"] = Field("weak", description="View that labeled images are learned from.")
    flip: bool = Field(True, description="Mirror left to right with probability 1/2. Off for digits.")
    pad: int = Field(4, ge=0, description="Padding of the random crop, pixels; at most a quarter of the shorter side.")
    pool: str = Field("cifar", description="Ops of RandAugment: cifar or digits.")
    ops: int = Field(2, ge=0, le=8, description="RandAugment's rounds (N).")
    magnitude: float = Field(10, ge=0, le=10, description="RandAugment's magnitude (M); 10 is the pool's own strength.")
    random_magnitude: bool = Field(
        True, description="Draw the magnitude uniformly below `magnitude`, per sample and op."
    )
    recrop: bool = Field(False, description="Mirror and crop again after RandAugment, as the official MPL code does.")
    cutout: int = Field(16, ge=0, description="Side of cutout's square, pixels; at most half of the shorter side.")
    fill: int = Field(128, ge=0, le=255, description="Gray level of padding, of uncovered corners and of cutout.")

    @field_validator("pool")
    @classmethod
    def _known_pool(cls, name: str) -> str:
        if name not in POOLS:
            raise ValueError(f"unknown pool {name!r}; choose from {', '.join(POOLS)}")
        return name


def build_views(options: AugmentOptions, height: int, width: int) -> tuple[View, View]:
    """Return (weak, strong) for images of ``height`` x ``width`` pixels; ValueError if an option is too great for them.

    Both start from the stored image. The strong view mirrors and crops with draws of its own.
    """
    side = min(height, width)
    _check_bound("pad", options.pad, side // 4, f"a quarter of the shorter side of {height} x {width} images")
    _check_bound("cutout", options.cutout, side // 2, f"half of the shorter side of {height} x {width} images")
    weak = WeakView(options.flip, options.pad, options.fill)
    randaugment = RandAugment(
        POOLS[options.pool], options.ops, options.magnitude, options.random_magnitude, options.fill
    )
    again = (weak,) if options.recrop else ()
    return weak, Chain(weak, randaugment, *again, Cutout(options.cutout, options.fill))


def _check_bound(name: str, value: int, most: int, reason: str) -> None:
    if value > most:
        raise ValueError(f"{name}={value} is above {most}, {reason}")
