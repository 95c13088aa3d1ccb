"""MetaSemi's corrected pseudo-labels against autograd through the inner step, in fp64."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.methods import metasemi
from pipeline.methods.metasemi import beta_quantiles, interpolate_quantiles, project_to_simplex
from pipeline.training.trainer import Trainer
from tests.pipeline.by_hand import computed, fresh, gradient, logits, step, weights
from tests.pipeline.conftest import assert_same

NORMED = {"name": "small_conv", "width": 4, "dropout": 0.3}


def labeled_gradient(trainer: Trainer, batch: Batch) -> Tensor:
    return gradient(lambda w: F.cross_entropy(logits(trainer, w, batch.labeled), batch.labels), weights(trainer))


def predicted(trainer: Trainer, flat: Tensor, batch: Batch) -> Tensor:
    return logits(trainer, flat, batch.weak).softmax(1)


def with_rate(make: Callable[..., Trainer], rate: float, **settings: Any) -> Trainer:
    trainer = make(method="metasemi", optimizer={"lr": rate}, **settings)
    trainer.networks["model"].schedule(0)
    return trainer


def exact_label(trainer: Trainer, batch: Batch, rate: float, scale: float = 1.0) -> Tensor:
    """Return the label of Algorithm 1 before its projection, by autograd through theta' = theta - rate * grad D(y).

    D is the mean of |p - y|^2 over the U samples, and the step on the labels has size scale * U.
    """
    theta = weights(trainer).requires_grad_()
    label = predicted(trainer, theta, batch).detach().requires_grad_()
    distance = (predicted(trainer, theta, batch) - label).square().sum(1).mean()
    (inner,) = torch.autograd.grad(distance, theta, create_graph=True)
    outcome = F.cross_entropy(logits(trainer, theta - rate * inner, batch.labeled), batch.labels)
    (derivative,) = torch.autograd.grad(outcome, label)
    assert derivative.norm() > 1e-4
    return label.detach() - scale * len(label) * derivative


def gap_to_algorithm_1(make: Callable[..., Trainer]) -> float:
    trainer = with_rate(make, 0.05)
    batch = trainer.loader.batch(0)
    exact = exact_label(trainer, batch, 0.05)
    assert (exact > 0).all()  # so that the projection is the identity
    return (computed(trainer, batch)["correct"] - exact).norm().item()


def gap_to_a_labeled_step(make: Callable[..., Trainer], rate: float) -> float:
    """Return the distance from the corrected labels to p(theta - 2 rate v)."""
    trainer = with_rate(make, rate)
    batch = trainer.loader.batch(0)
    after = weights(trainer) - 2 * rate * labeled_gradient(trainer, batch)
    return (computed(trainer, batch)["correct"] - predicted(trainer, after, batch)).norm().item()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_corrected_label_is_the_projected_one_of_algorithm_1(
    make: Callable[..., Trainer], rate: float, scale: float
) -> None:
    trainer = with_rate(make, rate, metasemi={"correction": scale})
    batch = trainer.loader.batch(0)
    label = project_to_simplex(exact_label(trainer, batch, rate, scale))
    torch.testing.assert_close(computed(trainer, batch)["correct"], label, rtol=1e-4, atol=1e-7)


def test_the_gap_to_algorithm_1_is_quadratic_in_the_step_of_the_finite_difference(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gap_to_algorithm_1(make) < 2e-6
    gaps = []
    for reach in (0.08, 0.04, 0.02, 0.01):
        monkeypatch.setattr(metasemi, "STEP_NORM", reach)
        gaps.append(gap_to_algorithm_1(make))
    assert [wide / narrow for wide, narrow in pairwise(gaps)] == pytest.approx([4, 4, 4], rel=0.01)


def test_the_gap_to_the_prediction_after_a_labeled_step_is_quadratic_in_the_rate(make: Callable[..., Trainer]) -> None:
    gaps = [gap_to_a_labeled_step(make, rate) for rate in (0.0125, 0.003125, 0.00078125)]
    assert [wide / narrow for wide, narrow in pairwise(gaps)] == pytest.approx([16, 16], rel=0.05)


def test_no_smaller_finite_difference_closes_the_gap_to_the_prediction_after_a_labeled_step(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the labels were within O(eps^2) of p(theta - 2 rate v), half the step would leave a quarter of the gap."""
    wide = gap_to_a_labeled_step(make, 0.05)
    monkeypatch.setattr(metasemi, "STEP_NORM", metasemi.STEP_NORM / 2)
    assert wide > 1000 * gap_to_algorithm_1(make)
    assert gap_to_a_labeled_step(make, 0.05) == pytest.approx(wide, rel=1e-3)


def test_labels_stay_on_the_simplex_even_if_the_correction_is_large(make: Callable[..., Trainer]) -> None:
    trainer = with_rate(make, 50.0)
    label = computed(trainer, trainer.loader.batch(0))["correct"]
    assert (label >= 0).all()
    assert (label == 0).any()
    torch.testing.assert_close(label.sum(1), torch.ones_like(label[:, 0]))


def test_finite_differences_leave_parameters_and_statistics_as_they_were(make: Callable[..., Trainer]) -> None:
    trainer = make(method="metasemi", model=NORMED)
    module = trainer.networks["model"].module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = computed(trainer, trainer.loader.batch(0))
    assert_same(before, module.state_dict())
    assert module.training
    assert not torch.equal(found["ahead"], found["behind"])


def test_predictions_and_gradient_are_those_of_evaluation_mode_without_dropout(make: Callable[..., Trainer]) -> None:
    trainer = make(method="metasemi", model=NORMED)
    batch = trainer.loader.batch(0)
    found = computed(trainer, batch)
    module = trainer.networks["model"].module.eval()
    assert torch.equal(found["now"], module(batch.weak).softmax(1))
    v = torch.autograd.grad(F.cross_entropy(module(batch.labeled), batch.labels), list(module.parameters()))
    norm = torch.cat([part.flatten() for part in v]).norm()
    with torch.no_grad():
        for parameter, part in zip(module.parameters(), v, strict=True):
            parameter.add_(metasemi.STEP_NORM * part / norm)
    torch.testing.assert_close(found["ahead"], module(batch.weak).softmax(1))


def test_without_correction_the_labels_are_the_predictions(make: Callable[..., Trainer]) -> None:
    trainer = make(method="metasemi", metasemi={"correction": 0.0})
    found = computed(trainer, trainer.loader.batch(0))
    assert found["correct"] is found["now"]
    assert "ahead" not in found


def test_a_step_is_mixup_and_consistency_by_the_formulas(make: Callable[..., Trainer]) -> None:
    trainer = make(method="metasemi", mu=2, ramp=4, metasemi={"weight": 3.0, "alpha": 0.4}, optimizer={"lr": 0.1})
    batch, theta = trainer.loader.batch(0), weights(trainer)
    trainer.networks["model"].schedule(0)
    label = computed(trainer, fresh(batch))["correct"]
    images, target = trainer.method.mix(label, batch)  # type: ignore[attr-defined]

    def loss(w: Tensor) -> Tensor:
        mixed = logits(trainer, w, images).log_softmax(1)
        fit = (target * (target.log().nan_to_num(neginf=0) - mixed)).sum(1).mean()
        return fit + 3 / 4 * (logits(trainer, w, batch.weak).softmax(1) - label).square().sum(1).mean()

    step(trainer, fresh(batch))
    torch.testing.assert_close(weights(trainer), theta - 0.1 * gradient(loss, theta), rtol=1e-6, atol=1e-9)


def test_each_unlabeled_image_is_mixed_with_one_labeled_image_of_its_own_place(make: Callable[..., Trainer]) -> None:
    trainer = make(method="metasemi", mu=2)
    batch = trainer.loader.batch(0)
    label = torch.full((len(batch.weak), 4), 0.25, dtype=torch.float64)
    images, target = trainer.method.mix(label, batch)  # type: ignore[attr-defined]
    lam = (target.amax(1) - 0.25) / 0.75
    for place in range(len(images)):
        share = lam[place]
        mixed = share * batch.labeled[place // 2] + (1 - share) * batch.weak[place]
        torch.testing.assert_close(images[place].double(), mixed.double(), rtol=1e-4, atol=1e-3)
        assert target[place].argmax() == batch.labels[place // 2]
    assert len(lam.unique()) == len(lam)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 4.0])
def test_the_table_of_quantiles_gives_the_beta_distribution(alpha: float) -> None:
    drawn = interpolate_quantiles(beta_quantiles(alpha), (torch.arange(20000) + 0.5) / 20000)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=1e-3)
    assert drawn.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=5e-3)
