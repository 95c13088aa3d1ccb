"""Law 2 on a GPU: a run that was stopped ends bit for bit like one that was not, compiled and uncompiled."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.training.trainer import Trainer
from tests.cuda.conftest import ALONE, needs_gpu
from tests.pipeline.conftest import assert_same, weights_of
from tests.pipeline.training.test_resume import METHODS

pytestmark = needs_gpu
HELD: list[dict[str, Any]] = [
    {"method": "uda", "model": {"dropout": 0.3}},
    {"method": "mpl", "mpl": {"baseline": True}},
    {"method": "smpl", "smpl": {"form": "shared-graph"}, "model": {"dropout": 0.3}},
    {"method": "metasemi"},
]


def resumed_and_undisturbed(make_trainer: Callable[..., Trainer], settings: dict[str, Any]) -> tuple[Trainer, Trainer]:
    """Return a trainer that was saved and restored midway, and one that was not, both at their end."""
    seldom = {"save_every": 100, "eval_every": 100} | settings
    undisturbed = make_trainer(out="undisturbed", **seldom)
    undisturbed.train()
    first = make_trainer(out="resumed", **seldom)
    first.train(until=3)
    first.save()
    torch.manual_seed(12345)
    torch.rand(7, device=ALONE.device)
    torch.compiler.reset()  # as in another process, all is compiled again
    second = make_trainer(out="resumed", **seldom)
    assert second.restore() == []
    assert second.step == 3
    second.train()
    return second, undisturbed


@pytest.mark.parametrize("settings", METHODS, ids=lambda settings: "-".join(map(str, settings)))
def test_resumed_equals_undisturbed_bit_for_bit(make_trainer: Callable[..., Trainer], settings: dict[str, Any]) -> None:
    resumed, undisturbed = resumed_and_undisturbed(make_trainer, {"compile": "off"} | settings)
    assert_same(weights_of(undisturbed), weights_of(resumed))


@pytest.mark.parametrize("compiled", ["auto", "max"])
@pytest.mark.parametrize("settings", HELD, ids=lambda settings: "-".join(map(str, settings)))
def test_resumed_equals_undisturbed_bit_for_bit_when_compiled(
    make_trainer: Callable[..., Trainer], settings: dict[str, Any], compiled: str
) -> None:
    resumed, undisturbed = resumed_and_undisturbed(make_trainer, {"compile": compiled} | settings)
    assert resumed.compiler.name == {"auto": "inductor", "max": "graphs"}[compiled]
    assert_same(weights_of(undisturbed), weights_of(resumed))
