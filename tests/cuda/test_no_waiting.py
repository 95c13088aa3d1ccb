"""Between two log lines the host never waits for the GPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.training.throughput import Clock
from pipeline.training.trainer import Trainer
from tests.cuda.conftest import CASES, needs_gpu
from tests.pipeline.distributed.test_world import METHODS

pytestmark = [
    needs_gpu,
    pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning"),
]
WARM = 4
"""Steps in which kernels are compiled, chosen and captured; the host may wait in them."""
NETWORK: dict[str, Any] = {"model": {"name": "small_conv", "width": 4}}


@pytest.mark.parametrize(("name", "compiled"), CASES)
def test_a_training_step_waits_for_nothing(make_trainer: Callable[..., Trainer], name: str, compiled: str) -> None:
    trainer = make_trainer(**METHODS[name] | NETWORK, compile=compiled, precision="bf16", steps=100)
    clock = Clock("cuda")
    for _ in range(WARM):
        trainer.train_step(clock)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            trainer.train_step(clock)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.step == WARM + 2
