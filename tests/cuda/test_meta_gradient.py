"""The mathematics of MPL and SMPL on a GPU in fp64, against finite differences and steps written by hand."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch.nn import functional as F

from pipeline.training.trainer import Trainer
from tests.cuda.conftest import GPU, needs_gpu
from tests.pipeline.methods import test_meta_gradient as by_hand

pytestmark = needs_gpu


@pytest.fixture(autouse=True)
def hands_on_the_gpu() -> Iterator[None]:
    """Create the tensors of the steps written by hand on the GPU."""
    with torch.device(GPU):
        yield


def test_the_expected_meta_term_of_exact_is_the_meta_gradient(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher's expected gradient is the gradient of the student's labeled loss after its step."""
    found, wanted = by_hand.term_and_meta_gradient(make, monkeypatch)
    assert found.device == GPU
    assert F.cosine_similarity(found, wanted, dim=0).item() > 0.999
    assert (found.norm() / wanted.norm()).item() == pytest.approx(1, rel=1e-3)


def test_feedback_agrees_with_the_inner_product_of_gradients(make: Callable[..., Trainer]) -> None:
    """The difference of losses and the inner product of gradients agree to second order in the rate."""
    by_hand.test_feedback_agrees_with_the_inner_product_of_gradients_to_second_order(make)


@pytest.mark.parametrize("form", ["recompute", "shared-graph"])
def test_smpl_is_the_two_steps_of_its_formulas(make: Callable[..., Trainer], form: str) -> None:
    """Both forms of SMPL make the two steps that their formulas state."""
    by_hand.test_smpl_is_the_two_steps_of_its_formulas(make, form)


def test_the_baseline_is_subtracted_before_it_moves(make: Callable[..., Trainer]) -> None:
    """The baseline of h is subtracted before it is updated."""
    by_hand.test_the_baseline_is_subtracted_before_it_moves(make)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_student_that_stands_still_gives_no_feedback(make: Callable[..., Trainer], dropout: float) -> None:
    """A student whose weights do not change gives h = 0, with dropout too."""
    by_hand.test_a_student_that_does_not_move_gives_no_feedback(make, {"name": "small_conv", "dropout": dropout})
