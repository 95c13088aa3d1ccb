"""Images to test on (noise, smooth waves and real digits), views of every policy, and rounds with a given op."""

from typing import get_args

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from pipeline.data.augment import AugmentOptions, View, build_views
from pipeline.data.augment.options import PolicyName
from pipeline.data.augment.pools import CIFAR, POOLS, Ops
from pipeline.data.augment.sampled_ops import SampledOps


def noise(batch: int = 8, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, channels, height, width), dtype=torch.uint8, generator=generator)


def smooth(batch: int = 8, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    """Return enlarged 4 x 4 noise, whose range differs by image, so that contrast ops change it."""
    small = noise(batch, channels, 4, 4).float()
    large = F.interpolate(small, (height, width), mode="bicubic").clamp(0, 255)
    spread = torch.linspace(0.2, 1, batch)[:, None, None, None]
    return (20 + large * spread * 0.9).to(torch.uint8)


def digits(batch: int, size: int = 32) -> Tensor:
    """Return scikit-learn's 8 x 8 digits, uint8 [batch, 1, size, size]."""
    images = torch.tensor(load_digits().images[:batch], dtype=torch.float32)[:, None] * (255 / 16)
    return F.interpolate(images, (size, size), mode="bilinear").to(torch.uint8)


def every_view() -> dict[str, View]:
    """Return the weak view and the strong view of every policy and pool, for 32 x 32 pixels."""
    weak, _ = build_views(AugmentOptions(), 32, 32)
    options = {policy: AugmentOptions(policy=policy, recrop=True) for policy in get_args(PolicyName)}
    options |= {pool: AugmentOptions(pool=pool) for pool in POOLS}
    return {"weak": weak} | {name: build_views(options[name], 32, 32)[1] for name in options}


def forced(name: str, sign: float, fraction: float, batch: int = 8, pool: Ops = CIFAR.ops) -> SampledOps:
    """Return a round in which every sample has the op ``name``; Cutout's square is in the middle."""
    op = torch.full((batch,), list(pool).index(name))
    center = torch.full((batch, 2), 0.5)
    return SampledOps(pool, op, torch.full((batch,), sign), torch.full((batch,), fraction), center)
