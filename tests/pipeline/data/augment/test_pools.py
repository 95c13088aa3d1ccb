"""The pools of RandAugment against the formulas of public code, and how often their ops are applied.

The formulas of MPL are those of ``level_to_arg`` in google-research/google-research, meta_pseudo_labels/augment.py, for
images of 32 pixels; those of FixMatch are the ranges of ``augment_list`` in microsoft/Semi-supervised-learning,
semilearn/datasets/augmentation/randaugment.py.
"""

import hashlib
import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from data_prep.system.errors import UsageError
from pipeline.config.recipes import load_recipe
from pipeline.config.resolve import resolve
from pipeline.data.augment import (
    CIFAR,
    FIXMATCH,
    MPL,
    OPS,
    POOLS,
    AugmentOptions,
    Cutout,
    Pool,
    RandAugment,
    Strength,
    build_views,
)
from pipeline.data.augment.geometry import GEOMETRIC, source_places
from pipeline.data.augment.pools import check_pool
from pipeline.data.augment.sampled_ops import SampledOps
from pipeline.data.sampling.stateless_rng import derive_key
from tests.pipeline.data.augment.batches import digits, forced, noise, smooth

KEY = derive_key(0, 7, "strong")
SIZE, LEVEL, GRAY = 32, 16, 128
CONST = SIZE // 8
ENHANCED = ("Brightness", "Color", "Contrast", "Sharpness")
BITS, THRESHOLD = int(LEVEL / 10 * 4), int(LEVEL / 10 * 256) % 256  # a threshold is cast to a byte
MPL_STRENGTHS = {
    "AutoContrast": 1,
    "Equalize": 1,
    "Invert": 1,
    "Rotate": LEVEL / 10 * 30,
    "Posterize": 8 - BITS,
    "Solarize": 256 - THRESHOLD,
    "ShearX": LEVEL / 10 * 0.3,
    "ShearY": LEVEL / 10 * 0.3,
    "TranslateX": LEVEL / 10 * CONST / SIZE,
    "TranslateY": LEVEL / 10 * CONST / SIZE,
    "Cutout": 2 * (LEVEL / 10 * CONST) / SIZE,
} | dict.fromkeys(ENHANCED, LEVEL / 10 * 1.8 + 0.1 - 1)


def mpl(**options: float) -> RandAugment:
    return RandAugment(MPL, **({"magnitude": LEVEL, "random_magnitude": False} | options))


def after(name: str, images: Tensor, pool: Pool = MPL, sign: float = 1.0) -> Tensor:
    """Return the images after op ``name`` at MPL's level."""
    augment = RandAugment(pool, magnitude=LEVEL)
    return augment.apply(images, forced(name, sign, LEVEL / 10, len(images), augment.pool))


@pytest.mark.parametrize(
    ("pool", "options", "digest"),
    [
        ("cifar", {}, "5beea16916bb4b93"),
        ("cifar", {"random_magnitude": False}, "be58a0a54b174af9"),
        ("cifar", {"magnitude": 5, "ops": 3}, "522eb485845bb1b4"),
        ("digits", {}, "ca387e9beae4b78a"),
        ("digits", {"random_magnitude": False}, "d58abcbca5104cf6"),
        ("digits", {"magnitude": 5, "ops": 3}, "5e7311b08955338a"),
    ],
)
def test_the_views_of_cifar_and_digits_have_the_bits_that_they_had_without_the_other_pools(pool, options, digest):
    _, strong = build_views(AugmentOptions(pool=pool, **options), SIZE, SIZE)
    views = strong(noise(256), 12345, torch.arange(256))
    assert hashlib.sha256(views.numpy().tobytes()).hexdigest()[:16] == digest


def test_mpl_has_the_public_ops_at_the_public_strengths():
    augment = mpl()
    assert MPL.ops.keys() == MPL_STRENGTHS.keys()
    for sampled in augment.sample_ops(KEY, torch.arange(2000)):
        for index, name in enumerate(MPL.ops):
            found = sampled.amount(name)[sampled.op == index]
            sign = sampled.sign[sampled.op == index] if name in GEOMETRIC else 1.0
            torch.testing.assert_close(found, MPL_STRENGTHS[name] * sign * torch.ones_like(found))


@pytest.mark.parametrize("magnitude", [0, 3, 10, 12.5, 16])
def test_mpl_s_strengths_follow_the_public_level(magnitude):
    assert MPL.ops["Rotate"].at(magnitude) == pytest.approx(magnitude / 10 * 30)
    assert MPL.ops["ShearX"].at(magnitude) == pytest.approx(magnitude / 10 * 0.3)
    assert MPL.ops["TranslateX"].at(magnitude) * SIZE == pytest.approx(magnitude / 10 * CONST)
    assert 1 + MPL.ops["Color"].at(magnitude) == pytest.approx(magnitude / 10 * 1.8 + 0.1)


def test_mpl_s_level_ops_do_to_pixels_what_the_formulas_say():
    images = noise()
    pixels = images.int()
    assert torch.equal(after("Solarize", images).int(), torch.where(pixels >= 153, 255 - pixels, pixels))
    assert torch.equal(after("Posterize", images).int(), pixels // 4 * 4)
    assert torch.equal(after("Invert", images).int(), 255 - pixels)
    bright = after("Brightness", images).int()
    assert (bright - (pixels * 2.98).clamp(max=255)).abs().max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("images", [noise, smooth])
@pytest.mark.parametrize(
    ("name", "adjust"),
    [("Color", tv.adjust_saturation), ("Contrast", tv.adjust_contrast), ("Sharpness", tv.adjust_sharpness)],
)
def test_mpl_enhances_by_a_factor_of_nearly_three(name, adjust, images, channels):
    """The gray that an image is moved away from may be rounded differently by a level, which becomes two."""
    ours, theirs = after(name, images(channels=channels)).int(), adjust(images(channels=channels), 2.98).int()
    assert (ours - theirs).abs().max() <= 2


def test_mpl_s_translation_is_six_pixels_and_its_cutout_twelve():
    images = noise()
    moved = after("TranslateX", images)
    assert torch.equal(moved[..., 6:], images[..., :-6])
    assert (moved[..., :6] == GRAY).all()
    cut = after("Cutout", images)
    side = 2 * int(LEVEL / 10 * CONST)
    first = SIZE // 2 - side // 2
    expected = images.clone()
    expected[..., first : first + side, first : first + side] = GRAY
    assert side == 12
    assert torch.equal(cut, expected)


def test_cutout_of_the_pool_is_anywhere_and_never_larger_than_its_side():
    cut = RandAugment(Pool({"Cutout": MPL.ops["Cutout"]}), 1, LEVEL, random_magnitude=False, fill=0)
    covered = cut(torch.full((4000, 1, SIZE, SIZE), 9, dtype=torch.uint8), KEY, torch.arange(4000)) == 0
    assert covered.flatten(1).sum(1).max() == 12 * 12
    assert covered.flatten(1).sum(1).min() == 6 * 6
    often = covered[:, 0].float().mean(0)
    assert (often[6:-6, 6:-6] - 144 / SIZE**2).abs().max() < 0.03


def test_mpl_applies_ops_with_one_probability_for_each_image():
    """The probability p is uniform in 0.2..0.8: E p = 0.5, and both rounds apply with E p^2 = 0.28, not 0.25."""
    count = 40_000
    augment = mpl()
    first, second = (sampled.op != augment.skip for sampled in augment.sample_ops(KEY, torch.arange(count)))
    both = (0.8**3 - 0.2**3) / (3 * 0.6)
    for happened, chance in ((first, 0.5), (second, 0.5), (first & second, both)):
        assert abs(happened.double().mean() - chance) <= 4 * (chance * (1 - chance) / count) ** 0.5


def test_applied_ops_are_uniform_over_the_pool():
    augment = mpl(ops=1)
    counts = augment.sample_ops(KEY, torch.arange(30_000))[0].op.bincount(minlength=16)
    expected = counts[:15].sum() / 15
    assert ((counts[:15] - expected) ** 2 / expected).sum() < 36.1  # 99.9 % of 14 degrees of freedom


def test_a_fixed_probability_is_fixed():
    augment = RandAugment(Pool(CIFAR.ops, probability=(0.5, 0.5)), ops=2)
    first, second = (sampled.op != augment.skip for sampled in augment.sample_ops(KEY, torch.arange(40_000)))
    chance = 13 / 28  # Identity is one of the 14 ops
    assert abs(first.double().mean() - chance) < 0.01
    assert abs((first & second).double().mean() - chance**2) < 0.01


def _uniform_over(values: Tensor, low: float, high: float) -> bool:
    quantiles = (values.quantile(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])) - low) / (high - low)
    return bool((quantiles - torch.linspace(0, 1, 5)).abs().max() < 0.04 and quantiles[0] >= 0 and quantiles[-1] <= 1)


FIXMATCH_RANGES = dict.fromkeys(ENHANCED, (0.05, 0.95)) | {
    "Rotate": (-30, 30),
    "ShearX": (-0.3, 0.3),
    "ShearY": (-0.3, 0.3),
    "TranslateX": (-0.3, 0.3),
    "TranslateY": (-0.3, 0.3),
    "Solarize": (0, 256),
}


def _drawn(pool: Pool, name: str, count: int = 60_000) -> Tensor:
    augment = RandAugment(pool, ops=1)
    sampled: SampledOps = augment.sample_ops(KEY, torch.arange(count))[0]
    return sampled.amount(name)[sampled.op == list(augment.pool).index(name)]


@pytest.mark.parametrize("name", FIXMATCH_RANGES)
def test_fixmatch_draws_strengths_uniformly_from_the_public_ranges(name):
    amounts = _drawn(FIXMATCH, name)
    public = 1 + amounts if name in ENHANCED else 256 - amounts if name == "Solarize" else amounts
    assert _uniform_over(public, *FIXMATCH_RANGES[name])


def test_fixmatch_keeps_four_to_seven_bits_each_as_likely():
    kept = (8 - _drawn(FIXMATCH, "Posterize").round()).long().bincount(minlength=9).double()
    assert kept[4:8].sum() == kept.sum()
    assert (kept[4:8] / kept.sum() - 0.25).abs().max() < 0.03


def test_fixmatch_has_the_public_ops():
    assert FIXMATCH.ops.keys() == FIXMATCH_RANGES.keys() | {"AutoContrast", "Equalize", "Identity", "Posterize"}


@pytest.mark.parametrize("largest", [1, 7, 16])
def test_a_random_cutout_has_every_side_up_to_the_largest_equally_often(largest):
    """A square of side s that touches no border of 64 pixels has (63 - s)^2 of 64^2 places for its center."""
    images = torch.full((16_000, 1, 64, 64), 200, dtype=torch.uint8)
    cut = Cutout(largest, fill=9, random_size=True)(images, 11, torch.arange(len(images)))[:, 0] == 9
    border = cut[:, [0, -1]].flatten(1).any(1) | cut[:, :, [0, -1]].flatten(1).any(1)
    tall, wide = cut[~border].any(2).sum(1), cut[~border].any(1).sum(1)
    assert torch.equal(tall, wide)
    sides = torch.arange(1, largest + 1)
    expected = len(images) / largest * (63 - sides) ** 2 / 64**2
    assert ((tall.bincount(minlength=largest + 1)[1:] / expected - 1).abs() < 0.15).all()
    assert tall.min() == 1
    assert tall.max() == largest


@pytest.mark.parametrize("pool", ["mpl", "fixmatch"])
@pytest.mark.parametrize("images", [smooth(2000), smooth(2000, 1), digits(1700)], ids=["color", "gray", "digits"])
def test_public_views_are_not_blank(pool, images):
    _, strong = build_views(AugmentOptions(pool=pool), SIZE, SIZE)
    pixels = strong(images, 3, torch.arange(len(images))).flatten(1)
    assert (pixels.amax(1) == pixels.amin(1)).float().mean() <= 0.002


FURTHEST = {
    "ShearX": (0, 0.48 * SIZE),
    "ShearY": (0.48 * SIZE, 0),
    "TranslateX": (0, 6),
    "TranslateY": (6, 0),
    "Rotate": (2 * (SIZE / math.sqrt(2)) * math.sin(math.radians(48) / 2),) * 2,
}


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("name", sorted(GEOMETRIC))
def test_at_level_16_no_pixel_moves_further_than_its_bound(name, sign):
    rows, columns = source_places(forced(name, sign, LEVEL / 10, batch=1, pool=MPL.ops), SIZE, SIZE)
    down, right = FURTHEST[name]
    place = torch.arange(SIZE)
    assert (rows - place[:, None]).abs().max() <= math.ceil(down)
    assert (columns - place).abs().max() <= math.ceil(right)


def test_a_pool_s_name_alone_means_the_public_views():
    assert AugmentOptions(pool="mpl") == AugmentOptions(
        pool="mpl", ops=2, magnitude=16, random_magnitude=False, cutout=16, random_cutout=False, recrop=True
    )
    assert AugmentOptions(pool="fixmatch") == AugmentOptions(
        pool="fixmatch", ops=3, magnitude=10, random_magnitude=True, cutout=16, random_cutout=True, recrop=False
    )


@pytest.mark.parametrize("pool", ["cifar", "digits"])
def test_our_own_pools_set_no_other_option(pool):
    assert AugmentOptions(pool=pool).model_copy(update={"pool": "cifar"}) == AugmentOptions()


def test_a_recipe_s_own_values_override_the_pool_s():
    options = resolve(
        {"dataset": "cifar10", "augment": {"pool": "mpl", "cutout": 12}}, {"augment": {"recrop": False}}
    ).augment
    assert (options.magnitude, options.cutout, options.recrop) == (16, 12, False)


@pytest.mark.parametrize(
    ("recipe", "pool"),
    [
        *((f"cifar10-4k-{name}", "mpl") for name in ("mpl", "smpl", "uda", "fast")),
        *((name, "mpl") for name in ("cifar100-10k-smpl", "svhn-1k-mpl", "svhn-1k-smpl")),
        ("cifar10-4k-fixmatch", "fixmatch"),
    ],
)
def test_recipes_that_name_a_paper_use_its_public_views(recipe, pool):
    found = resolve(load_recipe(recipe), {}).augment
    assert found == AugmentOptions(pool=pool, flip=found.flip)
    assert found.flip == ("svhn" not in recipe)


def test_recrop_comes_after_cutout():
    """Then squares reach beyond the crop: gray of the padding may border on the square, and both are shifted."""
    options = {"ops": 0, "pad": 4, "flip": False, "cutout": 16, "fill": 0}
    images = torch.full((500, 1, SIZE, SIZE), 255, dtype=torch.uint8)
    areas = [
        (build_views(AugmentOptions(recrop=recrop, **options), SIZE, SIZE)[1](images, 1, torch.arange(500)) == 0).sum()
        for recrop in (False, True)
    ]
    assert areas[1] > areas[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "mpl", "magnitude": 17}, "magnitude=17 is above 16.66, .* op ShearX allows; .* would be 0.51"),
        ({"magnitude": 20}, "magnitude=20 is above 10, the most that the pool's op Solarize allows; .* would be 512"),
        ({"pool": "digits", "magnitude": 12}, "magnitude=12 is above 11.11, .* op Sharpness allows; .* would be 1.08"),
        ({"pool": "fixmatch", "magnitude": 10.5}, "magnitude=10.5 is above 10, .* op Solarize allows"),
    ],
)
def test_a_magnitude_beyond_an_op_s_bounds_is_refused_with_the_largest_that_is_not(options, message):
    with pytest.raises(ValidationError, match=message):
        AugmentOptions(**options)
    with pytest.raises(ValueError, match=message):
        check_pool(POOLS[options.get("pool", "cifar")], options["magnitude"])


@pytest.mark.parametrize(("pool", "most"), [("cifar", 10), ("digits", 11.11), ("mpl", 16.66), ("fixmatch", 10)])
def test_the_largest_magnitude_is_accepted(pool, most):
    assert AugmentOptions(pool=pool, magnitude=most).magnitude == most


def test_the_error_line_names_the_key():
    with pytest.raises(UsageError, match=r"^command line: augment.magnitude: magnitude=40 is above 10, "):
        resolve({"dataset": "cifar10"}, {"augment": {"magnitude": 40.0}})


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ({}, "empty"),
        ({"Sheer": Strength(0, 0.1)}, "unknown op 'Sheer'"),
        ({"TranslateX": Strength(0, 10)}, "above 0.5, the most that the pool's op TranslateX allows"),
        ({"Brightness": Strength(-2, 0)}, "Brightness=-2 is outside of -1..3"),
        ({"Brightness": Strength(0, 4)}, "above 7.5, the most that the pool's op Brightness allows"),
        ({"Brightness": Strength(0, 2, signed=True)}, "above 5, the most that the pool's op Brightness allows"),
        ({"Color": Strength(0, -2)}, "above 5, the most that the pool's op Color allows"),
    ],
)
def test_pools_out_of_bounds_are_refused(ops, message):
    with pytest.raises(ValueError, match=message):
        check_pool(Pool(ops), 10)


def test_every_op_occurs_in_a_pool():
    assert set().union(*(pool.ops for pool in POOLS.values())) == OPS.keys()
