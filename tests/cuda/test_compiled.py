"""Compiled networks on a GPU compute what plain ones do."""

from collections.abc import Callable

import pytest

from pipeline.training.trainer import Trainer
from tests.cuda.conftest import FAST, needs_gpu
from tests.pipeline.distributed.test_world import METHODS, assert_close

pytestmark = needs_gpu


@pytest.mark.parametrize("compiled", ["auto", "max"])
@pytest.mark.parametrize("name", FAST)
def test_a_compiled_run_is_the_plain_one_but_for_rounding(
    make_trainer: Callable[..., Trainer], name: str, compiled: str
) -> None:
    settings = METHODS[name] | {"model": {"name": "small_conv", "width": 4}, "steps": 3}
    ends = []
    for mode in ("off", compiled):
        trainer = make_trainer(out=mode, compile=mode, **settings)
        trainer.train()
        ends.append(trainer.networks[trainer.method.evaluated[0]].module.state_dict())
    assert_close(*ends, tolerance=1e-2)
