"""A run that was stopped goes on from its checkpoint, bit for bit, and refuses the checkpoint of another run."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from data_prep.system.errors import DataError, UsageError, UserError
from pipeline import checkpoint
from pipeline.distributed.world import World
from pipeline.training.trainer import Trainer
from tests.pipeline.conftest import CPU, assert_same, weights_of
from tests.pipeline.distributed.test_world import FAST

METHODS = [
    {"method": "supervised"},
    {"method": "uda", "model": {"dropout": 0.3}},
    {"method": "mpl", "model": {"dropout": 0.3}, "mpl": {"baseline": True, "label_mode": "sample"}},
    {"method": "mpl", "mpl": {"mode": "unrolled"}, "optimizer": {"name": "adamw", "lr": 0.01, "schedule": "one-cycle"}},
    {"method": "mpl", "mpl": {"mode": "official-soft"}, "optimizer": {"schedule": "step", "milestones": [2, 4]}},
    {"method": "fixmatch"},
    FAST,
    {"method": "pseudo_label", "optimizer": {"schedule": "constant"}},
    {"method": "fully_supervised", "augment": {"policy": "autoaugment-svhn"}},
    {"method": "roleplay", "roleplay": {"period": 2, "warmup": 1}, "model": {"dropout": 0.3}},
    {"method": "metasemi", "model": {"dropout": 0.3}},
    {"method": "smpl", "smpl": {"form": "recompute"}, "accumulate": 2},
    {"method": "smpl", "smpl": {"form": "shared-graph"}, "model": {"dropout": 0.3}},
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", METHODS, ids=lambda settings: "-".join(map(str, settings)))
def test_interrupted_and_resumed_equals_undisturbed_bit_for_bit(
    make_trainer: Callable[..., Trainer], settings: dict
) -> None:
    undisturbed = make_trainer(out="undisturbed", save_every=100, eval_every=100, **settings)
    undisturbed.train()
    first = make_trainer(out="resumed", save_every=100, eval_every=100, **settings)
    first.train(until=3)
    first.save()
    torch.manual_seed(12345)
    torch.rand(7)
    second = make_trainer(out="resumed", save_every=100, eval_every=100, **settings)
    assert second.restore() == []
    assert second.step == 3
    second.train()
    assert_same(weights_of(undisturbed), weights_of(second))


def test_how_often_a_run_saves_and_evaluates_changes_no_weight(make_trainer: Callable[..., Trainer]) -> None:
    seldom = make_trainer(out="seldom", save_every=100, eval_every=100)
    often = make_trainer(out="often", save_every=1, eval_every=1, log_every=1)
    seldom.train()
    often.train()
    assert_same(seldom.networks["model"].module.state_dict(), often.networks["model"].module.state_dict())


def test_keeps_the_newest_two_and_falls_back_from_a_flipped_bit(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(save_every=2)
    trainer.train()
    folder = trainer.checkpoints
    assert folder.steps() == [4, 6]
    newest = folder.path / "step-00000006.pt"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    again = make_trainer(save_every=2)
    (line,) = again.restore()
    assert "step-00000006.pt" in line
    assert again.step == 4


class SecondRank(World):
    """The world of a rank whose rank 0 has chosen the checkpoint of step 4."""

    def any(self, flag: bool) -> bool:
        return flag

    def gather(self, value: Any) -> list[Any]:
        return [value or 4]


def test_a_rank_goes_on_from_the_step_of_rank_0_and_waits_for_its_file(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trainer(save_every=2).train()
    trainer = make_trainer(save_every=2)
    trainer.world = SecondRank(1, 2, CPU)
    record = trainer.checkpoints.path / "step-00000004.json"
    unseen = record.rename(record.with_suffix(".unseen"))
    monkeypatch.setattr(checkpoint.time, "sleep", lambda _: unseen.rename(record))
    trainer.restore()
    assert trainer.step == 4, "and not the newest one, 6"
    record.unlink()
    monkeypatch.setattr(checkpoint, "APPEAR_SECONDS", -1)
    with pytest.raises(UserError, match=r"step-00000004\.pt.*all nodes must share one folder") as caught:
        trainer.restore()
    assert caught.value.shared


def test_checkpoints_of_another_run_are_refused(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer()
    trainer.train(until=3)
    for change, error, message in [
        ({"data": "other"}, DataError, "other data"),
        ({"config": "other"}, UsageError, "another configuration"),
        ({"precision": "bf16"}, UsageError, "add --precision bf16"),
        ({"step": 1000}, UsageError, "step 1000 already"),
    ]:
        with pytest.raises(error, match=message):
            trainer.load_state_dict(trainer.state_dict() | change)
