"""The baselines against their formulas, on linear models in fp64."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import pipeline.methods
from data_prep.system.errors import UsageError
from pipeline.methods import METHODS
from pipeline.training.trainer import Trainer
from tests.pipeline.by_hand import fresh, gradient, logits, step, weights

Loss = Callable[[Tensor], Tensor]


def moved_by(make: Callable[..., Trainer], method: str, loss_of: Callable[..., Loss], **changes: object) -> None:
    """Assert that one step of ``method`` is gradient descent on the loss written by hand."""
    trainer = make(method=method, mu=4, **changes)
    batch, theta = trainer.loader.batch(0), weights(trainer)

    def labeled(w: Tensor) -> Tensor:
        return F.cross_entropy(logits(trainer, w, batch.labeled), batch.labels)

    loss = loss_of(trainer, batch, theta)
    step(trainer, fresh(batch))
    torch.testing.assert_close(weights(trainer), theta - gradient(lambda w: labeled(w) + loss(w), theta))


def test_pseudo_label_learns_its_own_confident_classes_of_the_weak_view(make: Callable[..., Trainer]) -> None:
    def loss_of(trainer: Trainer, batch: object, theta: Tensor) -> Loss:
        confidence, label = logits(trainer, theta, batch.weak).softmax(1).max(1)  # type: ignore[attr-defined]
        mask = confidence >= 0.4
        assert 0 < mask.sum() < len(mask)

        def loss(w: Tensor) -> Tensor:
            each = F.cross_entropy(logits(trainer, w, batch.weak), label, reduction="none")  # type: ignore[attr-defined]
            return 2 / 5 * (each * mask).mean()

        return loss

    moved_by(make, "pseudo_label", loss_of, pseudo_label={"weight": 2.0, "threshold": 0.4}, ramp=5)


def test_fixmatch_learns_confident_classes_of_the_weak_view_on_the_strong_one(make: Callable[..., Trainer]) -> None:
    def loss_of(trainer: Trainer, batch: object, theta: Tensor) -> Loss:
        confidence, label = logits(trainer, theta, batch.weak).softmax(1).max(1)  # type: ignore[attr-defined]
        mask = confidence >= 0.4
        assert 0 < mask.sum() < len(mask)

        def loss(w: Tensor) -> Tensor:
            each = F.cross_entropy(logits(trainer, w, batch.strong), label, reduction="none")  # type: ignore[attr-defined]
            return 2 / 5 * (each * mask).mean()

        return loss

    moved_by(make, "fixmatch", loss_of, fixmatch={"weight": 2.0, "threshold": 0.4}, ramp=5)


UNLABELED: dict[str, dict[str, Any]] = {
    "pseudo_label": {"pseudo_label": {"threshold": 0.0}},
    "uda": {"uda": {"weight": 1.0, "threshold": 0.0}},
    "fixmatch": {"fixmatch": {"threshold": 0.0}},
    "mpl": {"uda": {"weight": 1.0, "threshold": 0.0}, "mpl": {"weight": 0.0}},
    "roleplay": {"uda": {"weight": 1.0, "threshold": 0.0}, "mpl": {"weight": 0.0}},
    "smpl": {"uda": {"weight": 1.0, "threshold": 0.0}, "smpl": {"inner_lr": 0.0}},
    "metasemi": {},
}
"""The methods with an unlabeled loss that has a weight, and settings that keep every sample in it."""


def unlabeled_part(make: Callable[..., Trainer], method: str, ramp: int) -> Tensor:
    """Return what the unlabeled loss adds to the first step, at rate 1."""
    with_it, without = (make(method=method, ramp=length, **UNLABELED[method]) for length in (ramp, 10**9))
    for trainer in (with_it, without):
        step(trainer, trainer.loader.batch(0))
    name = next(iter(with_it.networks))
    return weights(without, name) - weights(with_it, name)


@pytest.mark.parametrize("method", UNLABELED)
def test_one_ramp_weighs_the_unlabeled_loss_of_every_method(make: Callable[..., Trainer], method: str) -> None:
    """A comparison gives the same ramp to all of its methods, since there is one key."""
    whole, tenth = unlabeled_part(make, method, 0), unlabeled_part(make, method, 10)
    assert whole.norm() > 1e-3
    torch.testing.assert_close(tenth, whole / 10, rtol=1e-4, atol=1e-7)


def test_every_method_with_a_weighted_unlabeled_loss_has_the_ramp() -> None:
    without = {"supervised", "fully_supervised"}
    assert UNLABELED.keys() == set(METHODS.built_in) - without


@pytest.mark.parametrize("distance", ["cross-entropy", "cosine"])
def test_uda_s_distance_pulls_the_strong_view_alone_and_only_confident_ones(
    make: Callable[..., Trainer], distance: str
) -> None:
    """The gradient flows into the strong view only, the mask is applied, and the mean is over the batch."""

    def loss_of(trainer: Trainer, batch: object, theta: Tensor) -> Loss:
        target = (logits(trainer, theta, batch.weak) / 0.5).softmax(1)  # type: ignore[attr-defined]
        mask = target.amax(1) >= 0.5
        assert 0 < mask.sum() < len(mask)

        def loss(w: Tensor) -> Tensor:
            strong = logits(trainer, w, batch.strong)  # type: ignore[attr-defined]
            p = strong.softmax(1)
            each = {
                "cross-entropy": -(target * strong.log_softmax(1)).sum(1),
                "cosine": -(p * target).sum(1) / (p.norm(dim=1) * target.norm(dim=1)),
            }[distance]
            return 3 * (each * mask).sum() / len(mask)

        return loss

    uda = {"weight": 3.0, "temperature": 0.5, "threshold": 0.5, "distance": distance}
    moved_by(make, "uda", loss_of, uda=uda)


def test_the_upper_bound_sees_every_true_label(make: Callable[..., Trainer]) -> None:
    trainer = make(method="fully_supervised", mu=2)
    batch, theta = trainer.loader.batch(0), weights(trainer)
    images, labels = torch.cat([batch.labeled, batch.weak]), torch.cat([batch.labels, batch.truth])
    step(trainer, fresh(batch))
    wanted = gradient(lambda w: F.cross_entropy(logits(trainer, w, images), labels), theta)
    torch.testing.assert_close(weights(trainer), theta - wanted)


def test_views_that_a_method_does_not_use_are_not_made(make: Callable[..., Trainer]) -> None:
    for name in METHODS.built_in:
        views = METHODS.load(name).views
        batch = make(method=name).loader.batch(0)
        assert {"weak": len(batch.weak) > 0, "strong": len(batch.strong) > 0} == {
            "weak": "weak" in views,
            "strong": "strong" in views,
        }


def test_no_method_mentions_ranks_scalers_or_accumulation_or_has_over_150_lines() -> None:
    files = list(Path(pipeline.methods.__file__).parent.glob("*.py"))
    assert len(files) > len(METHODS.built_in)
    for file in files:
        text = file.read_text()
        assert len(text.splitlines()) <= 150, file.name
        if file.name not in {"phases.py"}:  # which says that the engine deals with them
            for word in ("rank", "world", "scaler", "accumulat", "micro_batch", "all_reduce", "no_sync"):
                assert word not in text.lower(), f"{file.name}: {word}"


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'fixmatch'"):
        METHODS.load("fixmach")
