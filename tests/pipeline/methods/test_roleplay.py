"""Role-playing: the state of a model stays with the model when the roles swap."""

import copy
from collections.abc import Callable

import torch

from pipeline.models.ensemble import Ensemble
from pipeline.training.trainer import Trainer
from tests.pipeline.conftest import ALONE, assert_same, weights_of

ROLES = {"period": 2, "warmup": 3}


def test_roles_swap_every_period_after_the_warm_up_and_twice_is_the_identity(
    make_trainer: Callable[..., Trainer],
) -> None:
    method = make_trainer(method="roleplay", roleplay=ROLES).method
    teachers = [method.roles(step)[0] for step in range(11)]  # type: ignore[attr-defined]
    assert teachers == ["first"] * 5 + ["second"] * 2 + ["first"] * 2 + ["second"] * 2
    for step in range(3, 11):
        assert method.roles(step) == method.roles(step + 4) == method.roles(step + 2)[::-1]  # type: ignore[attr-defined]


def test_the_first_model_warms_up_alone(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(method="roleplay", roleplay=ROLES)
    before = {name: tensor.clone() for name, tensor in trainer.networks["second"].module.state_dict().items()}
    trainer.train(until=3)
    assert_same(before, trainer.networks["second"].module.state_dict())
    assert {name: average.updates for name, average in trainer.averages.items()} == {"first": 3, "second": 0}
    trainer.train(until=4)
    assert trainer.averages["second"].updates == 1


def test_without_a_swap_it_is_mpl(make_trainer: Callable[..., Trainer]) -> None:
    playing = make_trainer(out="playing", method="roleplay", roleplay={"period": 1000})
    plain = make_trainer(out="plain", method="mpl")
    for role, model in {"teacher": "first", "student": "second"}.items():
        plain.networks[role].module.load_state_dict(playing.networks[model].module.state_dict())
    playing.train()
    plain.train()
    for role, model in {"teacher": "first", "student": "second"}.items():
        assert_same(plain.networks[role].module.state_dict(), playing.networks[model].module.state_dict())


def test_optimizer_scaler_and_schedule_stay_with_their_model(make_trainer: Callable[..., Trainer]) -> None:
    """Swapped roles are MPL with the complete states of the two models exchanged."""
    playing = make_trainer(out="playing", method="roleplay", roleplay={"period": 3}, steps=6)
    plain = make_trainer(out="plain", method="mpl", steps=6)
    playing.train(until=3)
    for role, model in {"teacher": "second", "student": "first"}.items():
        plain.networks[role].load_state_dict(copy.deepcopy(playing.networks[model].state_dict()))
    plain.step = 3
    playing.train()
    plain.train()
    for role, model in {"teacher": "second", "student": "first"}.items():
        left, right = plain.networks[role].state_dict(), playing.networks[model].state_dict()
        assert_same(left["weights"], right["weights"])  # type: ignore[arg-type]
        momenta = [state["optimizer"]["state"] for state in (left, right)]  # type: ignore[index]
        assert all(torch.equal(momenta[0][k]["momentum_buffer"], v["momentum_buffer"]) for k, v in momenta[1].items())
        assert left["scaler"] == right["scaler"]


def test_checkpoints_are_keyed_by_model_and_resume_in_mid_period(make_trainer: Callable[..., Trainer]) -> None:
    settings = {"method": "roleplay", "roleplay": ROLES, "steps": 9, "save_every": 100}
    undisturbed, first = make_trainer(out="undisturbed", **settings), make_trainer(out="stopped", **settings)
    undisturbed.train()
    first.train(until=6)
    first.save()
    assert set(first.state_dict()["networks"]) == set(first.state_dict()["averages"]) == {"first", "second"}
    second = make_trainer(out="stopped", **settings)
    second.restore()
    second.train()
    assert_same(weights_of(undisturbed), weights_of(second))


def test_models_are_judged_alone_and_together(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(method="roleplay", roleplay=ROLES, steps=6)
    trainer.train()
    found = trainer.weights()
    assert {"last, averaged", "last, averaged, first", "last, averaged, second", "best, raw, second"} <= set(found)
    images = trainer.data.val.images
    alone = [found[f"last, averaged, {name}"](images) for name in ("first", "second")]
    torch.testing.assert_close(found["last, averaged"](images), (alone[0] + alone[1]) / 2)
    assert isinstance(found["best, averaged"], Ensemble)
    assert_same(found["best, averaged"].state_dict(), trainer.best["weights"]["ema"])
    assert trainer.world is ALONE
