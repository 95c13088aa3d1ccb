"""Law 1 on a GPU: micro-batches do not change what a run computes, compiled and uncompiled."""

from pathlib import Path

import pytest

from pipeline.training.trainer import Trainer
from tests.cuda.conftest import ALONE, CASES, data_there, needs_gpu
from tests.pipeline.conftest import make_config
from tests.pipeline.distributed.test_world import LINEAR, METHODS, assert_close
from tests.pipeline.rank_worker import train_case

pytestmark = needs_gpu


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_change_nothing_in_fp64(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.pipeline.rank_worker.make_data", data_there)
    settings = METHODS[name] | {"model": LINEAR, "compile": "off"}
    whole = train_case(settings, ALONE, tmp_path / "whole")
    quarters = train_case(settings | {"accumulate": 4}, ALONE, tmp_path / "quarters")
    assert_close(whole["weights"], quarters["weights"])


@pytest.mark.parametrize(("name", "compiled"), CASES)
def test_micro_batches_change_no_more_than_rounding_in_fp32(name: str, compiled: str, tmp_path: Path) -> None:
    settings = METHODS[name] | {"model": LINEAR, "compile": compiled, "precision": "fp32"}
    ends = []
    for accumulate in (1, 2):
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        trainer = Trainer(make_config(**settings, accumulate=accumulate), data_there(), ALONE, folder)
        trainer.train()
        ends.append(trainer.networks[trainer.method.evaluated[0]].module.state_dict())
    assert_close(*ends, tolerance=1e-3)
