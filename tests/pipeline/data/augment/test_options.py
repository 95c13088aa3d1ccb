"""Which augmentation options are accepted, and which are refused."""

from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from pipeline.data.augment import POOLS, AugmentOptions, AutoAugment, Chain, Cutout, WeakView, build_views
from pipeline.data.augment.options import STRONG, PolicyName
from pipeline.data.augment.policies import CIFAR10_POLICY, IMAGENET_POLICY, SVHN_POLICY
from tests.pipeline.data.augment.batches import digits, noise


@pytest.mark.parametrize(
    "wrong",
    [
        {"flop": True},
        {"pad": -1},
        {"pad": 4.0},
        {"flip": 1},
        {"policy": "autoaugment"},
        {"policy": None},
        {"pool": "imagenet"},
        {"ops": 9},
        {"magnitude": 10.5},
        {"magnitude": -1},
        {"cutout": -2},
        {"fill": 256},
    ],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        AugmentOptions(**wrong)


def test_an_unknown_pool_is_told_which_exist():
    with pytest.raises(ValidationError, match="choose from cifar, digits"):
        AugmentOptions(pool="imagenet")


@pytest.mark.parametrize(("options", "size"), [({"pad": 9}, 32), ({"cutout": 17}, 32), ({"pad": 2}, 8)])
def test_bounds_of_the_image_size(options, size):
    with pytest.raises(ValueError, match=f"is above .* of the shorter side of {size} x {size} images$"):
        build_views(AugmentOptions(**options), size, size)


def test_every_option_is_described():
    assert all(field.description for field in AugmentOptions.model_fields.values())


def test_every_policy_that_the_options_admit_can_be_built():
    assert list(STRONG) == list(get_args(PolicyName))


@pytest.mark.parametrize(
    ("name", "policy"), [("cifar10", CIFAR10_POLICY), ("svhn", SVHN_POLICY), ("imagenet", IMAGENET_POLICY)]
)
def test_autoaugment_takes_randaugment_s_place_and_reads_none_of_its_options(name, policy):
    randaugment_s = {"pool": "digits", "ops": 0, "magnitude": 0, "random_magnitude": False}
    options = AugmentOptions(policy=f"autoaugment-{name}", fill=9, **randaugment_s)
    images, samples = noise(64), torch.arange(64)
    expected = Chain(WeakView(fill=9), AutoAugment(policy, fill=9), Cutout(fill=9))
    assert torch.equal(build_views(options, 32, 32)[1](images, 1, samples), expected(images, 1, samples))


def test_digits_at_their_own_size():
    options = AugmentOptions(flip=False, pad=1, pool="digits", magnitude=5, cutout=2, fill=0)
    images = digits(64, size=8)
    for view in build_views(options, 8, 8):
        assert view(images, 1, torch.arange(64)).float().std() > 10


@pytest.mark.parametrize("pool", POOLS)
def test_no_rounds_and_no_cutout_leave_the_crop(pool):
    options = AugmentOptions(pool=pool, ops=0, cutout=0, flip=False, pad=0)
    images = digits(4)
    _, strong = build_views(options, 32, 32)
    assert torch.equal(strong(images, 1, torch.arange(4)), images)
