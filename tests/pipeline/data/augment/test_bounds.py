"""On images of 32 pixels no pixel moves further than its bound, and views keep their content."""

import math

import pytest
import torch

from pipeline.data.augment import CIFAR, DIGITS, AutoAugment, Chain, Cutout, Pool, RandAugment, WeakView
from pipeline.data.augment.geometry import GEOMETRIC, source_places
from pipeline.data.augment.policies import CIFAR10_POLICY, IMAGENET_POLICY, SVHN_POLICY
from tests.pipeline.data.augment.batches import digits, forced, smooth

SIZE = 32
ROTATION = 2 * (SIZE / math.sqrt(2)) * math.sin(math.radians(30) / 2)  # the distance that a corner moves
BOUNDS = {
    "ShearX": (0, 0.3 * SIZE),
    "ShearY": (0.3 * SIZE, 0),
    "TranslateX": (0, 4),
    "TranslateY": (4, 0),
    "Rotate": (ROTATION, ROTATION),
}


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("name", BOUNDS)
def test_no_pixel_moves_further_than_its_bound(name, sign):
    rows, columns = source_places(forced(name, sign, 1.0, batch=1), SIZE, SIZE)
    down, right = BOUNDS[name]
    place = torch.arange(SIZE)
    assert (rows - place[:, None]).abs().max() <= math.ceil(down)
    assert (columns - place).abs().max() <= math.ceil(right)


def test_every_geometric_op_is_bounded():
    assert BOUNDS.keys() == GEOMETRIC


@pytest.mark.parametrize("images", [smooth(400), digits(400)], ids=["textures", "digits"])
def test_views_are_not_blank_at_top_magnitude(images):
    """Brightness and contrast of a tenth, twice in a row, may flatten a few of RandAugment's views; moves never do."""
    samples = torch.arange(len(images))
    geometric = Pool({name: CIFAR.ops[name] for name in GEOMETRIC})
    for pool, most in ((CIFAR, 0.01), (DIGITS, 0.0), (geometric, 0.0)):
        strong = Chain(WeakView(), RandAugment(pool, magnitude=10, random_magnitude=False), Cutout())
        pixels = strong(images, 3, samples).flatten(1)
        blank = pixels.amax(1) == pixels.amin(1)
        assert blank.float().mean() <= most


@pytest.mark.parametrize("policy", [CIFAR10_POLICY, SVHN_POLICY, IMAGENET_POLICY], ids=["cifar10", "svhn", "imagenet"])
def test_autoaugment_moves_no_pixel_further_than_its_bound(policy):
    augment = AutoAugment(policy)
    place = torch.arange(SIZE)
    for draw in augment.sample_ops(3, torch.arange(2000)):
        rows, columns = source_places(draw, SIZE, SIZE)
        for index, name in enumerate(augment.pool):
            down, right = BOUNDS.get(name, (0, 0))
            drawn = draw.op == index
            assert ((rows[drawn] - place[:, None]).abs() <= math.ceil(down)).all(), name
            assert ((columns[drawn] - place).abs() <= math.ceil(right)).all(), name


@pytest.mark.parametrize("images", [smooth(2000), smooth(2000, 1), digits(1700)], ids=["color", "gray", "digits"])
@pytest.mark.parametrize("policy", [CIFAR10_POLICY, SVHN_POLICY, IMAGENET_POLICY], ids=["cifar10", "svhn", "imagenet"])
def test_autoaugment_blanks_no_view(policy, images):
    pixels = Chain(WeakView(), AutoAugment(policy), Cutout())(images, 3, torch.arange(len(images))).flatten(1)
    assert (pixels.amax(1) > pixels.amin(1)).all()


def test_moves_keep_most_of_the_image():
    images = torch.full((2000, 1, SIZE, SIZE), 255, dtype=torch.uint8)
    pool = Pool({name: CIFAR.ops[name] for name in GEOMETRIC})
    moved = RandAugment(pool, ops=2, random_magnitude=False, fill=0)(images, 5, torch.arange(2000))
    kept = (moved == 255).flatten(1).float().mean(1)
    assert kept.min() > 0.5
    assert kept.mean() > 0.75


@pytest.mark.parametrize("size", [0, 1, 7, 16])
def test_cutout_covers_at_most_its_square(size):
    images = torch.full((500, 3, SIZE, SIZE), 200, dtype=torch.uint8)
    cut = Cutout(size, fill=9)(images, 11, torch.arange(500)) == 9
    area = cut[:, 0].flatten(1).sum(1)
    assert area.max() == size * size
    assert (area >= (size // 2) ** 2).all()
    assert torch.equal(cut[:, :1].expand_as(cut), cut)


def test_crop_shifts_by_at_most_pad_and_reaches_it():
    place = torch.arange(SIZE, dtype=torch.uint8).expand(1000, 1, SIZE, SIZE)
    view = WeakView(flip=False, pad=4, fill=255)(place, 2, torch.arange(1000))
    shift = view[:, 0, :, SIZE // 2].to(torch.int64) - SIZE // 2
    inside = view[:, 0, SIZE // 2, SIZE // 2].to(torch.int64) - SIZE // 2
    assert set(inside.unique().tolist()) == set(range(-4, 5))
    assert (shift[view[:, 0, :, SIZE // 2] != 255].abs() <= 4).all()
