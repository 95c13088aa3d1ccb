"""A GPU makes the same views as a CPU, from the same random numbers."""

import pytest
import torch
from torch import Tensor

from pipeline.data.sampling.stateless_rng import derive_key, permutation, random_bits, uniform
from pipeline.training.compilation import CompiledView
from tests.cuda.conftest import GPU, needs_gpu
from tests.pipeline.data.augment.batches import digits, every_view, noise, smooth

pytestmark = needs_gpu
VIEWS = every_view()
IMAGES = {"noise": noise(64), "textures": smooth(64), "digits": digits(64).expand(-1, 3, -1, -1).contiguous()}
SLOTS = torch.arange(64) + 1000
KEY = derive_key(0, 7, "strong view")


def far_off(left: Tensor, right: Tensor) -> float:
    """Return the share of values that differ by more than one level."""
    return ((left.cpu().int() - right.cpu().int()).abs() > 1).float().mean().item()


def test_random_numbers_are_the_same() -> None:
    samples = torch.arange(10_000) * 3 - 7
    for draw in (random_bits, uniform):
        assert torch.equal(draw(KEY, samples, 5), draw(KEY, samples.to(GPU), 5).cpu())
    assert torch.equal(permutation(KEY, 50_000), permutation(KEY, 50_000, GPU).cpu())


@pytest.mark.parametrize("kind", IMAGES)
def test_the_weak_view_is_the_same_bit_for_bit(kind: str) -> None:
    view, images = VIEWS["weak"], IMAGES[kind]
    assert torch.equal(view(images, KEY, SLOTS), view(images.to(GPU), KEY, SLOTS.to(GPU)).cpu())


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", VIEWS)
def test_views_are_within_a_level_but_where_rounding_picks_another_pixel(name: str, compiled: bool) -> None:
    view = VIEWS[name]
    there = CompiledView(view) if compiled else view
    for kind, images in IMAGES.items():
        made = there(images.to(GPU), KEY, SLOTS.to(GPU))
        assert made.device == GPU
        assert far_off(view(images, KEY, SLOTS), made) < 0.005, kind
