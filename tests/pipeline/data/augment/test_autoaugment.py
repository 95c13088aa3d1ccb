"""AutoAugment's tables and magnitudes against torchvision's, and its sampled ops against the tables."""

import pytest
import torch
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, autoaugment

from pipeline.data.augment import AutoAugment
from pipeline.data.augment.geometry import GEOMETRIC
from pipeline.data.augment.policies import CIFAR10_POLICY, IMAGENET_POLICY, STRENGTHS, SVHN_POLICY, check_policy
from pipeline.data.sampling.stateless_rng import derive_key
from tests.pipeline.data.augment.batches import noise, smooth

KEY = derive_key(0, 7, "strong")
FILL = 128
TORCHVISION = autoaugment.AutoAugment()
POLICIES = {"CIFAR10": CIFAR10_POLICY, "SVHN": SVHN_POLICY, "IMAGENET": IMAGENET_POLICY}
NOTHING = ("Identity", 0.0, None)
WITH_MAGNITUDE = sorted(name for name, strength in STRENGTHS.items() if strength.has_magnitude)
MOST_OFF = {"Brightness": 1, "Color": 1, "Contrast": 1, "Sharpness": 1, "AutoContrast": 1}  # levels; the rest agree


@pytest.mark.parametrize("name", POLICIES)
def test_policies_are_torchvision_s(name):
    assert list(POLICIES[name]) == TORCHVISION._get_policies(AutoAugmentPolicy[name])


def _torchvision_s(image, name, magnitude, sign):
    """Return torchvision's result, except that a translation reaches an eighth of the side."""
    space = TORCHVISION._augmentation_space(10, image.shape[-2:])
    span = torch.linspace(0, 1 / 8, 10)
    space |= {"TranslateX": (span * image.shape[-1], True), "TranslateY": (span * image.shape[-2], True)}
    bins, signed = space[name]
    amount = float(bins[magnitude]) if bins.ndim else 0.0
    fill = [float(FILL)] * len(image)
    return autoaugment._apply_op(image, name, amount * sign if signed else amount, InterpolationMode.NEAREST, fill)


def _both(name, magnitude, images):
    """Return our result and torchvision's, int [B, C, H, W], with the signs that ours sampled."""
    augment = AutoAugment([((name, 1.0, magnitude), NOTHING)], FILL)
    samples = torch.arange(len(images))
    signs = augment.sample_ops(KEY, samples)[0].sign
    assert set(signs.tolist()) == {-1.0, 1.0}
    theirs = [_torchvision_s(image, name, magnitude, sign) for image, sign in zip(images, signs.tolist(), strict=True)]
    return augment(images, KEY, samples).int(), torch.stack(theirs).int()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("images", [noise, smooth])
@pytest.mark.parametrize("name", sorted(set(WITH_MAGNITUDE) - GEOMETRIC))
def test_every_bin_changes_levels_as_torchvision_does(name, images, channels):
    for magnitude in range(10):
        ours, theirs = _both(name, magnitude, images(channels=channels))
        assert (ours - theirs).abs().max() <= MOST_OFF.get(name, 0), magnitude


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("images", [noise, smooth])
@pytest.mark.parametrize("name", ["AutoContrast", "Equalize", "Invert"])
def test_ops_that_are_on_or_off_do_as_torchvision_s(name, images, channels):
    ours, theirs = _both(name, None, images(channels=channels))
    assert (ours - theirs).abs().max() <= MOST_OFF.get(name, 0)


def _ties(magnitude, lines):
    """Return the fraction of ``lines`` that a shear of (line + 1/2) * magnitude / 30 puts midway between two pixels."""
    return sum((2 * line + 1) * magnitude % 60 == 30 for line in range(lines)) / lines


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("name", sorted(GEOMETRIC))
def test_every_bin_moves_pixels_as_torchvision_does_but_for_ties(name, size):
    lines = {"ShearX": size[0], "ShearY": size[1]}.get(name, 0)
    for magnitude in range(10):
        ours, theirs = _both(name, magnitude, noise(8, 3, *size))
        most = _ties(magnitude, lines) if lines else 0.01
        assert (ours != theirs).float().mean() <= most, magnitude


def test_imagenet_s_policy_holds_no_translation():
    assert not {name for steps in IMAGENET_POLICY for name, *_ in steps} & {"TranslateX", "TranslateY"}


@pytest.mark.parametrize("name", POLICIES)
def test_each_step_is_applied_with_its_own_probability(name):
    count = 4000
    for steps in POLICIES[name]:
        augment = AutoAugment([steps])
        applied = [draw.op != 0 for draw in augment.sample_ops(KEY, torch.arange(count))]
        chances = [probability for _, probability, _ in steps]
        events = [*zip(applied, chances, strict=True), (applied[0] & applied[1], chances[0] * chances[1])]
        for happened, chance in events:
            spread = (chance * (1 - chance) / count) ** 0.5
            assert abs(happened.double().mean() - chance) <= 4 * spread, steps


@pytest.mark.parametrize("name", POLICIES)
def test_each_op_occurs_as_often_as_the_policy_says(name):
    policy, count = POLICIES[name], 50_000
    augment = AutoAugment(policy)
    for position, draw in enumerate(augment.sample_ops(KEY, torch.arange(count))):
        for index, op in enumerate(list(augment.pool)[1:], start=1):
            chance = sum(steps[position][1] for steps in policy if steps[position][0] == op) / len(policy)
            spread = (chance * (1 - chance) / count) ** 0.5
            assert abs((draw.op == index).double().mean() - chance) <= 4 * spread, op


def test_sub_policies_are_equally_likely_and_stay_together():
    policy = [(("Rotate", 1.0, level), ("ShearX", 1.0, 9 - level)) for level in range(10)]
    first, second = AutoAugment(policy).sample_ops(KEY, torch.arange(10_000))
    torch.testing.assert_close(first.fraction, 1 - second.fraction)
    counts = (first.fraction * 9).round().long().bincount(minlength=10)
    assert ((counts - 1000) ** 2 / 1000).sum() < 27.9  # 99.9 % of 9 degrees of freedom


def test_signs_are_even_and_of_the_steps_own():
    first, second = AutoAugment(CIFAR10_POLICY).sample_ops(KEY, torch.arange(10_000))
    assert abs(first.sign.mean()) < 0.04
    assert abs(second.sign.mean()) < 0.04
    assert abs((first.sign * second.sign).mean()) < 0.04
    assert abs((first.sign * (first.op != 0)).mean()) < 0.04


@pytest.mark.parametrize("name", POLICIES)
def test_draws_hold_the_op_and_the_bin_of_their_sub_policy(name):
    samples = torch.arange(100)
    for steps in POLICIES[name]:
        augment = AutoAugment([steps])
        for (op, _, magnitude), draw in zip(steps, augment.sample_ops(KEY, samples), strict=True):
            assert {list(augment.pool)[index] for index in draw.op.tolist()} <= {op, "Identity"}
            amount = STRENGTHS[op].ten * (1 if magnitude is None else magnitude / 9)
            if op == "Solarize":
                amount = 1 + 255 * magnitude / 9
            expected = (draw.op != 0) * (draw.sign if STRENGTHS[op].signed else 1.0) * amount
            torch.testing.assert_close(draw.amount(op), expected)


def test_the_first_step_goes_first():
    images = noise()
    for steps, expected in (
        ((("Posterize", 1.0, 9), ("Invert", 1.0, None)), 255 - (images & 0xF0)),
        ((("Invert", 1.0, None), ("Posterize", 1.0, 9)), (255 - images) & 0xF0),
    ):
        assert torch.equal(AutoAugment([steps])(images, KEY, torch.arange(8)), expected)


@pytest.mark.parametrize("name", [*sorted(GEOMETRIC), "Solarize", "Equalize", "Invert", "Sharpness"])
def test_a_step_of_probability_zero_does_nothing(name):
    images = noise(64)
    step = (name, 0.0, 9 if STRENGTHS[name].has_magnitude else None)
    assert torch.equal(AutoAugment([(step, step)])(images, KEY, torch.arange(64)), images)


def test_color_leaves_gray_images_as_they_are():
    images = noise(64, channels=1)
    step = ("Color", 1.0, 9)
    assert torch.equal(AutoAugment([(step, step)])(images, KEY, torch.arange(64)), images)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (("Sheer", 0.1, 3), "unknown op 'Sheer'"),
        (("Rotate", 1.1, 3), "Rotate=1.1 is outside of 0..1"),
        (("Rotate", 0.1, 10), "Rotate=10 is not one of 0..9"),
        (("Rotate", 0.1, None), "Rotate=None is not one of 0..9"),
    ],
)
def test_wrong_policies_are_refused(step, message):
    with pytest.raises(ValueError, match=message):
        check_policy([(NOTHING, step)])


def test_an_empty_policy_is_refused():
    with pytest.raises(ValueError, match="no sub-policies"):
        AutoAugment([])
