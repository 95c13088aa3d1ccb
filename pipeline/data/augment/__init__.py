"""Augmentation of whole batches on the training device.

Every random choice is made for each sample, as a function of (key, slot) alone. This folder imports `data.sampling`;
`data.batches` and `training` import it.
"""

from pipeline.data.augment.alternate_flip import flip_alternately
from pipeline.data.augment.autoaugment import AutoAugment
from pipeline.data.augment.cutout import Cutout
from pipeline.data.augment.options import AugmentOptions, build_views
from pipeline.data.augment.pools import CIFAR, DIGITS, FIXMATCH, MPL, OPS, POOLS, Op, Pool, Strength
from pipeline.data.augment.randaugment import RandAugment
from pipeline.data.augment.view import Chain, View
from pipeline.data.augment.weak import WeakView

__all__ = [
    "CIFAR",
    "DIGITS",
    "FIXMATCH",
    "MPL",
    "OPS",
    "POOLS",
    "AugmentOptions",
    "AutoAugment",
    "Chain",
    "Cutout",
    "Op",
    "Pool",
    "RandAugment",
    "Strength",
    "View",
    "WeakView",
    "build_views",
    "flip_alternately",
]
