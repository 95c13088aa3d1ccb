"""Whole runs on a GPU: their precisions, and the command from a name to a trained model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from pipeline.train import main
from pipeline.training.trainer import Trainer
from tests.cuda.conftest import COMPILES, FAST, needs_gpu
from tests.pipeline.distributed.test_world import METHODS

pytestmark = needs_gpu
NETWORK: dict[str, Any] = {"model": {"name": "small_conv", "width": 4}}


@pytest.mark.parametrize("name", FAST)
def test_bf16_and_fp16_train_close_to_fp32(make_trainer: Callable[..., Trainer], name: str) -> None:
    losses = {}
    for precision in ("fp32", "bf16", "fp16"):
        changes = METHODS[name] | NETWORK | {"precision": precision, "compile": "off", "steps": 4}
        trainer = make_trainer(out=precision, **changes)
        trainer.train(until=3)
        losses[precision] = trainer.runner.run(3, trainer.method.step(3), [trainer.loader.batch(3)])["loss"].item()
        assert all(p.dtype is torch.float32 for p in next(iter(trainer.evaluated.values())).parameters)
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.1)
    assert losses["fp16"] == pytest.approx(losses["fp32"], rel=0.1)


@pytest.mark.parametrize("compiled", COMPILES)
def test_the_command_trains_on_the_gpu_and_its_model_scores_the_same_on_a_cpu(
    compiled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMPL_DATA", str(tmp_path / "data"))
    size = ["--steps", "6", "--batch-size", "4", "--mu", "2", "--set", "log_every=2", "--set", "eval_every=3"]
    words = [*size, "--precision", "fp32", "--nproc", "1", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, [*words, "--compile", compiled])
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["device"] == "cuda"
    again = CliRunner().invoke(main, [*words, "--compile", compiled])
    assert "resuming at step 6 of 6" in again.stderr
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tested = CliRunner().invoke(main, ["--test-only", "--out", str(tmp_path / "run"), "--compile", "off"])
    assert tested.exit_code == 0, tested.output
    here = float(next(line for line in tested.stdout.splitlines() if line.startswith("last, averaged")).split()[-1])
    assert here == pytest.approx(summary["results"]["last, averaged"]["test"]["accuracy"], abs=1)
