"""``smpl bench step``: a row for each method, and bare passes that are exactly those of a step."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks.step import CASES, Pass, bench_config, gpu_memory, random_split, training_data
from pipeline.cli import main
from pipeline.training.compilation import Compiler
from pipeline.training.throughput import Clock
from pipeline.training.trainer import Trainer
from tests.pipeline.conftest import ALONE, CPU

SMALL = ["--batch-size", "2", "--mu", "1", "--width", "1", "--repeats", "1"]
KEYS = {"precision", "compile", "step_ms", "bare_ms", "ratio", "data_wait", "augment_images_per_s", "images_per_s"}


@pytest.mark.slow
def test_there_is_a_row_for_each_method_as_json(tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    result = CliRunner().invoke(main, ["bench", "step", "--json", *SMALL, "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    assert [row["method"] for row in rows] == list(CASES)
    for row in rows:
        assert row.keys() >= KEYS
        assert (row["precision"], row["compile"]) == ("fp32", "off")
        assert 0 < row["data_wait"] < 1
        assert not {"peak_bytes", "reserved_bytes"} & row.keys()
    record = json.loads(out.read_text())
    assert record["rows"] == rows
    assert {"command", "commit", "machine"} <= record.keys()


def test_another_network_can_be_set() -> None:
    tiny = ["bench", "step", "--json", *SMALL, "--methods", "supervised", "--set", "model.name=fast_conv"]
    result = CliRunner().invoke(main, [*tiny, "--set", "model.width=2"])
    assert result.exit_code == 0, result.output
    refused = CliRunner().invoke(main, [*tiny, "--set", "model.depth=28"])
    assert refused.exit_code == 2
    assert "model.depth: unknown key" in refused.output, "which the wide residual network has"


class Passing:
    """Records every forward pass of a trainer's networks, and each backward pass through it."""

    def __init__(self, trainer: Trainer) -> None:
        self.passes: list[dict[str, Any]] = []
        for network in trainer.networks.values():
            network.module.register_forward_hook(self.note)

    def note(self, module: torch.nn.Module, images: tuple[torch.Tensor], logits: torch.Tensor) -> None:
        exact = not (module.training or torch.is_autocast_enabled("cpu"))
        found = {"images": len(images[0]), "backward": 0, "exact": exact}
        self.passes.append(found)
        if logits.requires_grad:
            logits.register_hook(lambda _: found.__setitem__("backward", found["backward"] + 1))


@pytest.mark.parametrize("name", CASES)
def test_the_bare_passes_are_those_of_a_step(name: str, tmp_path: Path) -> None:
    """The batch has 2 labeled and 6 unlabeled images, so that the numbers of images tell the passes apart."""
    settings, needs = CASES[name]
    split = random_split(CPU, 16)
    trainer = Trainer(bench_config(settings, 2, 3, 1, "bf16"), training_data(split), ALONE, tmp_path)
    passing = Passing(trainer)
    trainer.train_step(Clock())
    order: Callable[[Pass], Any] = lambda each: (each.images, each.backward, each.exact)  # noqa: E731
    assert sorted((Pass(**found) for found in passing.passes), key=order) == sorted(needs(2, 6), key=order)


def test_an_unknown_row_is_refused_with_the_nearest() -> None:
    result = CliRunner().invoke(main, ["bench", "step", "--methods", "supervised,mlp"])
    assert result.exit_code == 2
    assert "did you mean 'mpl'" in result.stderr


@pytest.mark.parametrize(("compiled", "has_peak"), [("off", True), ("inductor", True), ("graphs", False)])
def test_a_replayed_graph_has_no_peak(compiled: str, has_peak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name, value in {"empty_cache": 0, "reset_peak_memory_stats": 0, "synchronize": 0, "memory_reserved": 7}.items():
        monkeypatch.setattr(torch.cuda, name, lambda name=name, value=value: calls.append(name) or value)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5)
    world = SimpleNamespace(device=torch.device("cuda"))
    step = lambda clock: calls.append("step")  # noqa: E731
    trainer: Any = SimpleNamespace(world=world, compiler=Compiler(compiled), train_step=step)
    assert gpu_memory(trainer) == ({"peak_bytes": 5} if has_peak else {}) | {"reserved_bytes": 7}
    assert calls == ["empty_cache", "reset_peak_memory_stats", "step", "synchronize", "memory_reserved"]
