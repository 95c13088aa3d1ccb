"""The views at test time, over which logits are averaged: their weights, their pixels, and where they are said."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from pipeline.evaluation.scoring import predict
from pipeline.models.ensemble import Ensemble
from pipeline.models.view_average import VIEWS, TestViews, average_over_views
from pipeline.precision import choose_precision
from tests.pipeline.conftest import ALONE

IMAGE = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)


def flat(images: Tensor) -> list[Tensor]:
    """Return the pixels in place of logits."""
    return [images.flatten(1).double()]


def copies(images: Tensor, views: TestViews) -> list[Tensor]:
    """Return the copies of the images that a network gets."""
    seen: list[Tensor] = []
    average_over_views(lambda copy: seen.append(copy) or flat(copy), images, views)
    return seen


def test_weights_add_up_to_one_and_every_option_has_views() -> None:
    assert set(VIEWS) == set(get_args(TestViews))
    assert all(sum(view.weight for view in views) == 1 for views in VIEWS.values())
    assert [len(views) for views in VIEWS.values()] == [1, 2, 6]


def test_shifts_by_a_pixel_reflect_the_border() -> None:
    plain, mirrored, up, _, down, down_mirrored = copies(IMAGE, "mirror-shift")
    assert torch.equal(plain, IMAGE)
    assert mirrored.tolist() == [[[[3, 2, 1], [6, 5, 4], [9, 8, 7]]]]
    assert up.tolist() == [[[[5, 6, 5], [8, 9, 8], [5, 6, 5]]]]
    assert down.tolist() == [[[[5, 4, 5], [2, 1, 2], [5, 4, 5]]]]
    assert torch.equal(down_mirrored, down.flip(3))
    assert up.dtype is torch.uint8


def test_the_mean_is_that_of_the_formula() -> None:
    (found,) = average_over_views(flat, IMAGE, "mirror-shift")
    plain, mirrored, *shifted = (flat(copy)[0] for copy in copies(IMAGE, "mirror-shift"))
    torch.testing.assert_close(found, (plain + mirrored) / 4 + sum(shifted) / 8)
    (found,) = average_over_views(flat, IMAGE, "mirror")
    torch.testing.assert_close(found, (plain + mirrored) / 2)


def test_a_mirrored_image_has_the_mean_of_the_image() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(27, 5)).double()
    images = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    means = [average_over_views(lambda copy: [network(copy)], each, "mirror")[0] for each in (images, images.flip(3))]
    torch.testing.assert_close(*means)
    assert not torch.allclose(means[0], network(images))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_members_of_an_ensemble_are_averaged_each_and_in_fp32(precision: str) -> None:
    members = {name: nn.Sequential(nn.Flatten(), nn.Linear(9, 4)) for name in ("a", "b")}
    batch, numbers = (
        (torch.randn(5, 1, 3, 3), torch.zeros(5, dtype=torch.int64)),
        choose_precision(precision, ALONE.device),
    )
    (((mean, *single), _),) = predict(Ensemble(members), [batch], numbers, "mirror")
    alone = [next(predict(member, [batch], numbers, "mirror"))[0][0] for member in members.values()]
    assert all(map(torch.equal, single, alone))
    assert {each.dtype for each in (mean, *single)} == {torch.float32}
    torch.testing.assert_close(mean, sum(alone) / 2, rtol=0.01, atol=0.01)
