"""Each op against torchvision, on noise and on smooth images, in color and in gray."""

import math

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from pipeline.data.augment import OPS, Pool, RandAugment
from pipeline.data.augment.policies import STRENGTHS
from tests.pipeline.data.augment.batches import forced, noise, smooth

FILL = 128
FRACTIONS = [0.1, 0.45, 0.7, 1.0]
IMAGES = {"noise": noise, "smooth": smooth}
AUGMENT = RandAugment(Pool(STRENGTHS), fill=FILL)

LEVEL_OPS = {
    "Identity": lambda image, amount: image,
    "Brightness": lambda image, amount: tv.adjust_brightness(image, 1 + amount),
    "Color": lambda image, amount: tv.adjust_saturation(image, 1 + amount),
    "Contrast": lambda image, amount: tv.adjust_contrast(image, 1 + amount),
    "Sharpness": lambda image, amount: tv.adjust_sharpness(image, 1 + amount),
    "Posterize": lambda image, amount: tv.posterize(image, 8 - round(abs(amount))),
    "Solarize": lambda image, amount: tv.solarize(image, min(255.0, 256 - abs(amount))),
    "AutoContrast": lambda image, amount: tv.autocontrast(image),
    "Equalize": lambda image, amount: tv.equalize(image),
    "Invert": lambda image, amount: tv.invert(image),
}


def _affine(image, translate=(0, 0), shear=(0.0, 0.0), center=None):
    fill = [float(FILL)] * image.shape[-3]
    return tv.affine(image, 0.0, list(translate), 1.0, list(shear), fill=fill, center=center)


def _degrees(slope):
    return math.degrees(math.atan(slope))


MOVES = {
    "ShearX": lambda image, amount: _affine(image, shear=(_degrees(amount), 0.0), center=[0, 0]),
    "ShearY": lambda image, amount: _affine(image, shear=(0.0, _degrees(amount)), center=[0, 0]),
    "TranslateX": lambda image, amount: _affine(image, translate=(int(amount * image.shape[-1]), 0)),
    "TranslateY": lambda image, amount: _affine(image, translate=(0, int(amount * image.shape[-2]))),
    "Rotate": lambda image, amount: tv.rotate(image, amount, fill=[float(FILL)] * image.shape[-3]),
}


def test_every_op_is_compared():
    assert LEVEL_OPS.keys() | MOVES.keys() == STRENGTHS.keys() == OPS.keys() - {"Cutout"}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("name", LEVEL_OPS)
def test_levels_within_one(name, kind, fraction, sign, channels):
    images = IMAGES[kind](channels=channels)
    ours = AUGMENT.apply(images, forced(name, sign, fraction, pool=STRENGTHS))
    theirs = torch.stack([LEVEL_OPS[name](image, STRENGTHS[name].ten * fraction * sign) for image in images])
    assert (ours.int() - theirs.int()).abs().max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("name", MOVES)
def test_moves_agree_but_for_ties(name, size, fraction, sign, channels):
    """A source between two pixels may be rounded either way, so up to 1 % of the pixels may differ."""
    images = noise(4, channels, *size)
    ours = AUGMENT.apply(images, forced(name, sign, fraction, batch=4, pool=STRENGTHS))
    theirs = MOVES[name](images, STRENGTHS[name].ten * fraction * sign)
    assert (ours != theirs).float().mean() <= 0.01


def test_flat_channels_stay_as_they_are():
    images = torch.full((8, 3, 32, 32), 77, dtype=torch.uint8)
    for name in ("AutoContrast", "Equalize", "Contrast", "Sharpness", "Color"):
        assert torch.equal(AUGMENT.apply(images, forced(name, 1.0, 1.0, pool=STRENGTHS)), images), name


@pytest.mark.parametrize("name", sorted(name for name, strength in STRENGTHS.items() if strength.has_magnitude))
def test_zero_amount_is_the_identity_to_the_bit(name):
    images = noise()
    assert torch.equal(AUGMENT.apply(images, forced(name, -1.0, 0.0, pool=STRENGTHS)), images)
