"""MetaSemi's corrected pseudo-labels against autograd through the inner step, in fp64."""

from collections.abc import Callable
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


def with_rate(make: Callable[..., Trainer], rate: float, **settings: Any) -> Trainer:
    trainer = make(method="metasemi", optimizer={"lr": rate}, **settings)
    trainer.networks["model"].schedule(0)
    return trainer


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_correction_is_the_meta_gradient_with_respect_to_the_labels(
    make: Callable[..., Trainer], scale: float
) -> None:
    """Autograd through theta' = theta - rate * grad |p - y|^2 (summed over samples) at y = p."""
    trainer = with_rate(make, 0.05, metasemi={"correction": scale})
    batch = trainer.loader.batch(0)
    corrected = computed(trainer, batch)["correct"]
    theta = weights(trainer).requires_grad_()
    label = logits(trainer, theta, batch.weak).softmax(1).detach().requires_grad_()
    distance = (logits(trainer, theta, batch.weak).softmax(1) - label).square().sum()
    (inner,) = torch.autograd.grad(distance, theta, create_graph=True)
    outcome = F.cross_entropy(logits(trainer, theta - 0.05 * inner, batch.labeled), batch.labels)
    (derivative,) = torch.autograd.grad(outcome, label)
    assert derivative.norm() > 1e-4
    torch.testing.assert_close(corrected, project_to_simplex(label.detach() - scale * derivative), rtol=1e-4, atol=1e-7)


def test_the_error_of_the_finite_difference_is_quadratic_in_its_step(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = with_rate(make, 0.05)
    batch = trainer.loader.batch(0)
    v = labeled_gradient(trainer, batch)
    _, derivative = torch.autograd.functional.jvp(
        lambda w: logits(trainer, w, batch.weak).softmax(1), weights(trainer), v
    )
    errors = []
    for reach in (0.04, 0.02, 0.01):
        monkeypatch.setattr(metasemi, "STEP_NORM", reach)
        found = computed(trainer, fresh(batch))
        difference = (found["ahead"] - found["behind"]) * v.norm() / reach
        errors.append((difference - 2 * derivative).norm().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


def test_corrected_labels_are_predictions_after_two_labeled_steps(make: Callable[..., Trainer]) -> None:
    """The label is p(theta - 2 rate v), to second order in the rate."""
    errors = []
    for rate in (0.02, 0.01, 0.005):
        trainer = with_rate(make, rate)
        batch = trainer.loader.batch(0)
        corrected = computed(trainer, batch)["correct"]
        ahead = weights(trainer) - 2 * rate * labeled_gradient(trainer, batch)
        errors.append((corrected - logits(trainer, ahead, batch.weak).softmax(1)).norm().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.3)


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


def test_predictions_are_those_of_evaluation_mode_without_dropout(make: Callable[..., Trainer]) -> None:
    trainer = make(method="metasemi", model=NORMED)
    batch = trainer.loader.batch(0)
    found = computed(trainer, batch)
    module = trainer.networks["model"].module.eval()
    assert torch.equal(found["now"], module(batch.weak).softmax(1))


def test_without_correction_the_labels_are_the_predictions(make: Callable[..., Trainer]) -> None:
    trainer = make(method="metasemi", metasemi={"correction": 0.0})
    found = computed(trainer, trainer.loader.batch(0))
    assert found["correct"] is found["now"]
    assert "ahead" not in found


def test_a_step_is_mixup_and_consistency_by_the_formulas(make: Callable[..., Trainer]) -> None:
    trainer = make(method="metasemi", mu=2, metasemi={"weight": 3.0, "ramp": 4, "alpha": 0.4}, optimizer={"lr": 0.1})
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
