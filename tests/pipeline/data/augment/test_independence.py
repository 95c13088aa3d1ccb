"""A view is a pure function of (key, slot, image), not of neighbors, batch size, memory format or earlier calls."""

from typing import get_args

import pytest
import torch

from pipeline.data.augment import CIFAR, POOLS, AugmentOptions, Chain, Cutout, RandAugment, WeakView, build_views
from pipeline.data.augment.options import PolicyName
from pipeline.data.augment.stages import Stages
from pipeline.data.sampling.stateless_rng import derive_key
from tests.pipeline.data.augment.batches import every_view, noise, smooth

KEY = derive_key(0, 7, "strong")
SAMPLES = torch.arange(64) + 1000
VIEWS = every_view()


@pytest.fixture(params=VIEWS)
def view(request):
    return VIEWS[request.param]


@pytest.mark.parametrize("channels", [1, 3])
def test_permutations_and_subsets_give_the_same_views(view, channels):
    images = smooth(64, channels)
    whole = view(images, KEY, SAMPLES)
    some = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:23]
    assert torch.equal(view(images[some], KEY, SAMPLES[some]), whole[some])
    assert torch.equal(view(images[5:6], KEY, SAMPLES[5:6]), whole[5:6])


def test_two_ranks_make_what_one_makes(view):
    images = noise(64)
    halves = [view(images[rank::2], KEY, SAMPLES[rank::2]) for rank in range(2)]
    assert torch.equal(torch.stack(halves, dim=1).flatten(0, 1), view(images, KEY, SAMPLES))


def test_same_key_same_bits_and_input_untouched(view):
    images = noise(64)
    kept = images.clone()
    assert torch.equal(view(images, KEY, SAMPLES), view(images, KEY, SAMPLES))
    assert torch.equal(images, kept)


def test_another_key_or_slot_gives_another_view(view):
    images = noise(64)
    first = view(images, KEY, SAMPLES)
    for other in (view(images, derive_key(0, 8, "strong"), SAMPLES), view(images, KEY, SAMPLES + 64)):
        assert (first != other).flatten(1).any(1).float().mean() > 0.9


def test_memory_format_changes_nothing(view):
    images = smooth(64)
    view_last = view(images.contiguous(memory_format=torch.channels_last), KEY, SAMPLES)
    assert torch.equal(view_last, view(images, KEY, SAMPLES))
    assert view_last.is_contiguous()


@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (3, 17), (224, 224)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", get_args(PolicyName))
def test_any_size(policy, channels, shape):
    images = noise(4, channels, *shape)
    options = AugmentOptions(policy=policy, pad=min(shape) // 4, cutout=min(shape) // 2)
    for view in build_views(options, *shape):
        assert view(images, KEY, SAMPLES[:4]).shape == images.shape


def test_key_may_be_a_tensor(view):
    images = noise(64)
    assert torch.equal(view(images, torch.tensor(KEY), SAMPLES), view(images, KEY, SAMPLES))


def test_ops_signs_and_fractions_are_uniform():
    drawn = RandAugment(CIFAR, ops=1).sample_ops(KEY, torch.arange(14_000))[0]
    counts = drawn.op.bincount(minlength=14).float()
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 34.5  # 99.9 % of 13 degrees of freedom
    assert abs(drawn.sign.mean()) < 0.03
    assert torch.allclose(
        drawn.fraction.quantile(torch.tensor([0.25, 0.5, 0.75])), torch.tensor([0.25, 0.5, 0.75]), atol=0.02
    )


def test_each_sample_draws_one_op_a_round():
    for pool in POOLS.values():
        augment = RandAugment(pool, random_magnitude=False)
        for drawn in augment.sample_ops(KEY, torch.arange(1000)):
            touched = torch.stack([drawn.amount(name) != 0 for name in pool.ops]).sum(0)
            assert torch.equal(touched, (drawn.op != augment.skip).long())


def test_a_chain_has_new_random_numbers_at_every_position():
    cut = Cutout(8, fill=0)
    images = torch.full((200, 1, 32, 32), 255, dtype=torch.uint8)
    once, twice = (chain(images, KEY, torch.arange(200)) for chain in (Chain(cut), Chain(cut, cut)))
    assert (twice == 0).sum() > 1.7 * (once == 0).sum()
    assert torch.equal(Chain(Chain(cut), cut)(images, KEY, torch.arange(200)), twice)


def test_weak_view_without_flip_and_pad_is_the_identity():
    images = noise()
    assert torch.equal(WeakView(flip=False, pad=0)(images, KEY, torch.arange(8)), images)


def test_flip_mirrors_about_half():
    images = noise(1000, 1, 8, 8)
    view = WeakView(flip=True, pad=0)(images, KEY, torch.arange(1000))
    same = (view == images).flatten(1).all(1)
    mirrored = (view == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 450 < mirrored.sum() < 550


def test_weak_and_strong_share_the_source_image():
    """Every gray level of the strong view that is not the fill level is a level of its own image."""
    images = (torch.arange(100, dtype=torch.uint8) + 20)[:, None, None, None].expand(100, 3, 32, 32)
    options = AugmentOptions(ops=0, fill=0)
    weak, strong = (view(images, KEY, torch.arange(100)) for view in build_views(options, 32, 32))
    for views in (weak, strong):
        assert torch.equal(views.flatten(1).amax(1), images[:, 0, 0, 0])
        assert ((views == 0) | (views == images)).all()
    assert (strong == 0).sum() > (weak == 0).sum()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("images", [noise, smooth])
def test_sorting_by_op_gives_what_the_whole_batch_gives(view, images, channels, monkeypatch):
    """The first is how a CPU makes views, the second how a GPU does."""
    batch = images(64, channels)
    sorted_by_op = view(batch, KEY, SAMPLES)
    monkeypatch.setattr(Stages, "__call__", Stages.apply_to_batch)
    assert torch.equal(view(batch, KEY, SAMPLES), sorted_by_op)
