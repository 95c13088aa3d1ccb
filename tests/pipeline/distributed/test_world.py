"""Law 1: world size and micro-batches never change what a method computes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.methods import METHODS as BUILT_IN
from tests.limits import LIMIT_S
from tests.pipeline.conftest import ALONE
from tests.pipeline.rank_worker import train_case

LINEAR = {"name": "mlp", "hidden": [16]}
METHODS: dict[str, dict[str, Any]] = {
    "supervised": {"method": "supervised"},
    "uda": {"method": "uda"},
    "uda-separate": {"method": "uda", "batch_statistics": "separate"},
    "fully_supervised": {"method": "fully_supervised"},
    "pseudo_label": {"method": "pseudo_label", "pseudo_label": {"threshold": 0.3}},
    "fixmatch": {"method": "fixmatch", "fixmatch": {"threshold": 0.3}},
    "mpl": {"method": "mpl", "mpl": {"baseline": True, "weight": 30.0, "label_mode": "sample"}},
    "mpl-unrolled": {"method": "mpl", "mpl": {"mode": "unrolled", "weight": 30.0}},
    "mpl-official-soft": {"method": "mpl", "mpl": {"mode": "official-soft"}},
    "mpl-mpl-pytorch": {"method": "mpl", "mpl": {"mode": "mpl-pytorch", "weight": 30.0}},
    "mpl-roleplay": {"method": "roleplay", "roleplay": {"period": 2, "warmup": 1}, "uda": {"distance": "cosine"}},
    "metasemi": {
        "method": "metasemi",
        "ramp": 3,
        "metasemi": {"alpha": 0.5},
        "optimizer": {"name": "adamw", "lr": 0.01},
    },
    "smpl-recompute": {"method": "smpl", "smpl": {"form": "recompute", "weight": 30.0}},
    "smpl-shared": {"method": "smpl", "smpl": {"form": "shared-graph", "weight": 30.0}},
}
DROPOUT = {"method": "smpl", "model": {"name": "mlp", "hidden": [16], "dropout": 0.4}}
NORMED = {"method": "mpl", "model": {"name": "small_conv", "width": 4}}
FAST = {
    "method": "uda",
    "side": 9,
    "model": {"name": "fast_conv", "width": 4},
    "augment": {"flip": "alternate"},
    "optimizer": {"schedule": "triangular", "warmup": 2, "bn_bias_lr_factor": 8.0},
}


def test_every_method_is_tested_here() -> None:
    assert {settings["method"] for settings in METHODS.values()} == set(BUILT_IN.built_in)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train all cases on two gloo processes, once; return the folder of their states."""
    folder = tmp_path_factory.mktemp("two")
    cases = {name: settings | {"model": LINEAR} for name, settings in METHODS.items()}
    cases |= {f"{name}-halves": settings | {"accumulate": 2} for name, settings in cases.items()}
    cases |= {"dropout": DROPOUT, "normed": NORMED, "fast": FAST}
    (folder / "cases.json").write_text(json.dumps(cases))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    worker = ["-m", "tests.pipeline.rank_worker", str(folder / "cases.json"), str(folder)]
    subprocess.run([*launcher, *worker], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=LIMIT_S)
    return folder


def load(folder: Path, name: str, rank: int) -> dict[str, Any]:
    return torch.load(folder / f"{name}-rank{rank}.pt", weights_only=False)


def assert_close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], tolerance: float = 1e-9) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_equal_one_process_equal_accumulation(two_ranks: Path, tmp_path: Path, name: str) -> None:
    settings = METHODS[name] | {"model": LINEAR}
    whole = train_case(settings, ALONE, tmp_path / "whole")
    quarters = train_case(settings | {"accumulate": 4}, ALONE, tmp_path / "quarters")
    for other in (quarters, load(two_ranks, name, 0), load(two_ranks, f"{name}-halves", 0)):
        assert_close(whole["weights"], other["weights"])
        assert other["scores"]["ema"]["accuracy"] == pytest.approx(whole["scores"]["ema"]["accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_all_ranks_hold_the_same_weights_and_the_same_feedback(two_ranks: Path, name: str) -> None:
    left, right = load(two_ranks, name, 0), load(two_ranks, name, 1)
    assert all(torch.equal(left["weights"][key], right["weights"][key]) for key in left["weights"])
    reports = zip(left["reports"], right["reports"], strict=True)
    feedback = [(mine["h"], theirs["h"]) for mine, theirs in reports if "h" in mine]
    assert bool(feedback) == name.startswith(("mpl", "smpl"))
    assert all(torch.equal(mine, theirs) and mine != 0 for mine, theirs in feedback)


@pytest.mark.slow
def test_the_ranks_did_see_different_masks(two_ranks: Path) -> None:
    left, right = load(two_ranks, "mpl", 0), load(two_ranks, "mpl", 1)
    assert any(mine["mask"] != theirs["mask"] for mine, theirs in zip(left["reports"], right["reports"], strict=True))


def test_feedback_is_formed_once_a_step_from_all_micro_batches(tmp_path: Path) -> None:
    settings = METHODS["mpl"] | {"model": LINEAR}
    whole = train_case(settings, ALONE, tmp_path / "whole")
    quarters = train_case(settings | {"accumulate": 4}, ALONE, tmp_path / "quarters")
    for once, four_times in zip(whole["reports"], quarters["reports"], strict=True):
        torch.testing.assert_close(once["h"], four_times["h"], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), [("dropout", DROPOUT), ("normed", NORMED), ("fast", FAST)])
def test_dropout_and_batch_statistics_depend_on_the_place_in_the_global_batch(
    two_ranks: Path, tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    """Two ranks with one micro-batch each are one rank with two, in BN's running statistics too."""
    halves = train_case(settings | {"accumulate": 2}, ALONE, tmp_path)["weights"]
    two = load(two_ranks, name, 0)["weights"]
    of_one_pass = {key: value for key, value in halves.items() if "num_batches_tracked" not in key}
    assert any("running_var" in key for key in of_one_pass) == (name != "dropout")
    assert_close(of_one_pass, {key: two[key] for key in of_one_pass})
