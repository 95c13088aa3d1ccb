import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from data_prep.system.errors import UsageError
from pipeline import precision
from pipeline.methods import METHODS
from pipeline.training.nonfinite_guard import NonFiniteError
from pipeline.training.trainer import Trainer
from tests.pipeline.by_hand import computed
from tests.pipeline.conftest import assert_same, weights_of

CPU = torch.device("cpu")


def test_auto_is_bf16_exactly_where_the_cpu_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for hardware, name in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(precision, "_has_bf16", lambda device, has=hardware: has)
        assert precision.choose_precision("auto", CPU).name == name


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(UsageError, match=r"fp16 .* bf16 or fp32"):
        precision.choose_precision("fp16", CPU)


CASES: list[dict[str, Any]] = [{"method": method} for method in METHODS.built_in]
CASES += [{"method": "mpl", "mpl": {"mode": "unrolled"}}, {"method": "smpl", "smpl": {"form": "shared-graph"}}]


@pytest.mark.slow
@pytest.mark.parametrize("settings", CASES, ids=lambda settings: "-".join(map(str, settings.values())))
def test_bf16_trains_close_to_fp32(make_trainer: Callable[..., Trainer], settings: dict[str, Any]) -> None:
    losses = {}
    for name in ("fp32", "bf16"):
        trainer = make_trainer(out=name, precision=name, steps=4, **settings)
        trainer.train(until=3)
        losses[name] = trainer.runner.run(3, trainer.method.step(3), [trainer.loader.batch(3)])["loss"].item()
        assert all(p.dtype is torch.float32 for p in next(iter(trainer.evaluated.values())).parameters)
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.1)


def poison(trainer: Trainer, step: int, network: str) -> None:
    """Make the gradient of ``network`` not a number at ``step``."""
    parameter = trainer.networks[network].parameters[0]
    parameter.register_hook(lambda grad: grad * float("nan") if trainer.step == step else grad)


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_update(make_trainer: Callable[..., Trainer]) -> None:
    good, bad = make_trainer(out="good"), make_trainer(out="bad")
    poison(bad, 4, "model")
    good.train(until=4)
    expected_ids = bad.loader.sample_ids(4)
    with pytest.raises(NonFiniteError, match="step 4") as caught:
        bad.train()
    assert caught.value.sample_ids == expected_ids
    assert_same(good.networks["model"].module.state_dict() | {}, _without_statistics(bad, good))
    assert bad.checkpoints.steps() == [3]


def _without_statistics(bad: Trainer, good: Trainer) -> dict[str, torch.Tensor]:
    """Return the weights of ``bad`` with BN's statistics of ``good``: those move in the forward pass already."""
    state, other = bad.networks["model"].module.state_dict(), good.networks["model"].module.state_dict()
    return {name: other[name] if "running" in name or "tracked" in name else value for name, value in state.items()}


def test_loss_scaling_skips_an_overflow_and_goes_on(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a scaler, an infinite gradient skips its step, and h of a student that did not move is 0."""
    monkeypatch.setattr(precision.Precision, "scaled", property(lambda self: True))
    trainer = make_trainer(method="mpl", steps=4)
    student = trainer.networks["student"]
    poison(trainer, 2, "student")
    scale = student.scaler.get_scale()
    trainer.train(until=2)
    before = [p.detach().clone() for p in student.parameters]
    momentum = [s["momentum_buffer"].clone() for s in student.optimizers["optimizer"].state.values()]
    metrics = trainer.runner.run(2, trainer.method.step(2), [trainer.loader.batch(2)])
    assert metrics["h"] == 0
    assert all(torch.equal(p, q) for p, q in zip(before, student.parameters, strict=True))
    after = [s["momentum_buffer"] for s in student.optimizers["optimizer"].state.values()]
    assert all(torch.equal(p, q) for p, q in zip(momentum, after, strict=True))
    assert student.scaler.get_scale() == scale / 2
    trainer.step = 3
    trainer.train()
    assert not torch.equal(before[0], student.parameters[0])


FORMS: list[dict[str, Any]] = [{"baseline": True}, {"mode": "mpl-pytorch", "baseline": True}, {"mode": "unrolled"}]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_a_student_s_skipped_step_does_not_reach_the_teacher_nor_the_baseline(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, form: dict[str, Any]
) -> None:
    """A batch that did not move the student has no feedback: its teacher is that of a run without the term."""
    monkeypatch.setattr(precision.Precision, "scaled", property(lambda self: True))
    trainer = make_trainer(method="mpl", mpl=form | {"weight": 10.0}, steps=4)
    trainer.train(until=2)
    baseline, state = dict(trainer.method.state), copy.deepcopy(trainer.state_dict())
    assert bool(baseline) == ("baseline" in form)
    assert all(value != 0 for value in baseline.values())
    metrics, teachers = {}, {}
    for name, weight, skipped in [("skipped", 10.0, True), ("moved", 10.0, False), ("off", 0.0, True)]:
        other = make_trainer(out=name, method="mpl", mpl=form | {"weight": weight}, steps=4)
        restore(other, state)
        if skipped:
            poison_update(other, "student")
        metrics[name] = other.runner.run(2, other.method.step(2), [other.loader.batch(2)])
        teachers[name] = {key: value.clone() for key, value in other.networks["teacher"].module.state_dict().items()}
        assert all((other.method.state[key] == baseline[key]) == skipped for key in baseline)
    assert metrics["skipped"]["h"] == 0 != metrics["moved"]["h"]
    assert_same(teachers["skipped"], teachers["off"])
    assert not torch.equal(teachers["moved"]["1.head.weight"], teachers["off"]["1.head.weight"])


def restore(trainer: Trainer, state: dict[str, Any]) -> None:
    """Put a trainer of another meta weight where ``state`` was taken."""
    trainer.load_state_dict(copy.deepcopy(state) | {"config": trainer.config.fingerprint()})


def poison_update(trainer: Trainer, network: str) -> None:
    """Make the gradient of the next optimizer step of ``network`` not a number, and no other."""
    spoiled, unscale = trainer.networks[network].optimizers["optimizer"], trainer.networks[network].scaler.unscale_

    def spoil(optimizer: torch.optim.Optimizer) -> None:
        if optimizer is spoiled:
            trainer.networks[network].parameters[0].grad.fill_(float("nan"))  # type: ignore[union-attr]
        unscale(optimizer)

    trainer.networks[network].scaler.unscale_ = spoil  # type: ignore[method-assign]


def test_a_student_that_waits_needs_no_loss_scale(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.Precision, "scaled", property(lambda self: True))
    make_trainer(method="mpl", mpl={"student_wait": 2}, steps=4).train()


def test_gradients_that_overflow_at_any_loss_scale_stop_the_run(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.Precision, "scaled", property(lambda self: True))
    trainer = make_trainer(steps=30)
    trainer.networks["model"].parameters[0].register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(NonFiniteError, match="any loss scale"):
        trainer.train()


@pytest.mark.slow
def test_with_and_without_loss_scaling_the_weights_agree(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale is a power of two, so that fp32 gives the same bits; a forgotten unscale would clip or blow up."""
    for form in ("recompute", "shared-graph"):
        plain = make_trainer(out=f"plain-{form}", smpl={"form": form}, optimizer={"clip": 0.8})
        plain.train()
        with monkeypatch.context() as patch:
            patch.setattr(precision.Precision, "scaled", property(lambda self: True))
            scaled = make_trainer(out=f"scaled-{form}", smpl={"form": form}, optimizer={"clip": 0.8})
            scaled.train()
        plain_weights, scaled_weights = weights_of(plain), weights_of(scaled)
        for name in plain_weights:
            torch.testing.assert_close(plain_weights[name], scaled_weights[name], rtol=1e-4, atol=1e-5)


def test_metasemi_looks_ahead_in_full_precision_whatever_the_run_s(make_trainer: Callable[..., Trainer]) -> None:
    """A difference of two predictions is lost in the rounding of bf16."""
    labels = {}
    for name in ("fp32", "bf16"):
        trainer = make_trainer(out=name, method="metasemi", precision=name)
        batch = trainer.loader.batch(0)
        labels[name] = computed(trainer, batch)["correct"]
    assert torch.equal(labels["fp32"], labels["bf16"])


@pytest.mark.slow
def test_loss_scaling_does_not_reach_directions_that_a_method_computes_with(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: list[dict[str, Any]] = [{"method": "metasemi"}, {"method": "mpl", "mpl": {"mode": "unrolled"}}]
    for number, case in enumerate(settings):
        plain = make_trainer(out=f"plain-{number}", **case)
        plain.train()
        with monkeypatch.context() as patch:
            patch.setattr(precision.Precision, "scaled", property(lambda self: True))
            scaled = make_trainer(out=f"scaled-{number}", **case)
            scaled.train()
        plain_weights, scaled_weights = weights_of(plain), weights_of(scaled)
        for name in plain_weights:
            torch.testing.assert_close(plain_weights[name], scaled_weights[name], rtol=1e-4, atol=1e-5)
