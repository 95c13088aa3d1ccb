"""Windows are inside their images, distributed as torchvision's, and functions of (key, slot) and size alone."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from pipeline.data.sampling.crop_windows import center_windows, random_windows
from pipeline.data.sampling.stateless_rng import derive_key

KEY = derive_key(0, 1, "weak crop")
SIZES = torch.tensor([[375, 500], [500, 333], [8, 8], [1, 1], [10, 3000], [3000, 10], [2, 900]])


def windows_of(height: int, width: int, count: int, **options: tuple[float, float]) -> Tensor:
    return random_windows(KEY, torch.arange(count), torch.tensor([[height, width]]).expand(count, 2), **options)


@pytest.mark.parametrize("windows", [partial(random_windows, KEY, torch.arange(700)), center_windows])
def test_windows_are_inside_their_images(windows: partial[Tensor]) -> None:
    sizes = SIZES.repeat(100, 1)
    found = windows(sizes)
    assert found.dtype == torch.int64
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] >= 1).all()
    assert (found[:, :2] + found[:, 2:] <= sizes).all()


def test_a_window_does_not_depend_on_its_batch() -> None:
    slots, sizes = torch.arange(210), SIZES.repeat(30, 1)
    whole = random_windows(KEY, slots, sizes)
    assert torch.equal(whole[100:103], random_windows(KEY, slots[100:103], sizes[100:103]))
    assert torch.equal(whole.flip(0), random_windows(KEY, slots.flip(0), sizes.flip(0)))
    other = random_windows(derive_key(0, 1, "strong crop"), slots, sizes)
    assert (whole != other).any(1)[sizes.amin(1) > 100].all()


def test_area_and_aspect_are_in_range() -> None:
    found = windows_of(375, 500, 5000, scale=(0.3, 0.6), ratio=(0.5, 2.0)).double()
    share, aspect = found[:, 2] * found[:, 3] / (375 * 500), found[:, 3] / found[:, 2]
    assert ((share > 0.295) & (share < 0.605)).all()
    assert ((aspect > 0.49) & (aspect < 2.02)).all()


@pytest.mark.parametrize("size", [(375, 500), (500, 200), (60, 60)])
def test_windows_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    image = torch.empty(1, *size)
    draw = partial(RandomResizedCrop.get_params, image, [0.08, 1.0], [3 / 4, 4 / 3])
    theirs = torch.tensor([draw() for _ in range(4000)]).double()
    ours = windows_of(*size, 4000).double()
    standard_error = (theirs.var(0) + ours.var(0)).sqrt() / 4000**0.5
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 4 * standard_error).all()
    assert torch.allclose(ours.std(0), theirs.std(0), rtol=0.06)
    assert torch.allclose(torch.corrcoef(ours.T), torch.corrcoef(theirs.T), atol=0.07)


@pytest.mark.parametrize("size", [(10, 3000), (3000, 10), (2, 900)])
def test_what_cannot_fit_is_the_central_window_of_torchvision(size: tuple[int, int]) -> None:
    theirs = RandomResizedCrop.get_params(torch.empty(1, *size), [0.9, 1.0], [3 / 4, 4 / 3])
    assert windows_of(*size, 5, scale=(0.9, 1.0)).tolist() == [list(theirs)] * 5


def test_the_central_window_is_seven_eighths_of_the_shorter_side() -> None:
    assert center_windows(torch.tensor([[256, 256], [300, 512]])).tolist() == [[16, 16, 224, 224], [19, 125, 262, 262]]
