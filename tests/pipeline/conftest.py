"""Small worlds for the tests: data made from a seed, and runs that take a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config.resolve import merge, resolve
from pipeline.config.schema import Config
from pipeline.data.resident.split import ResidentSplit
from pipeline.data.streaming.dali import has_dali
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.world import World
from pipeline.task import Task
from pipeline.training.trainer import Trainer

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)

BASE: dict[str, Any] = {
    "dataset": "digits",
    "method": "smpl",
    "steps": 6,
    "batch_size": 8,
    "mu": 2,
    "precision": "fp32",
    "eval_every": 3,
    "save_every": 3,
    "log_every": 2,
    "ema": 0.9,
    "model": {"name": "small_conv", "width": 4},
    "augment": {"flip": False, "pad": 1, "pool": "digits", "cutout": 2},
    "optimizer": {"lr": 0.05},
    "ramp": 2,
    "uda": {"threshold": 0.6},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the cases of DALI where it is not installed."""
    cases = [item for item in items if isinstance(item, pytest.Function) and _names_dali(item)]
    if cases and not has_dali():
        for item in cases:
            item.add_marker(pytest.mark.skip(reason="needs nvidia.dali"))


def _names_dali(item: pytest.Function) -> bool:
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return any(isinstance(value, str) and value == "dali" for value in values)


def make_config(**changes: Any) -> Config:
    """Return the base configuration with some keys changed."""
    return resolve(BASE, changes)


def make_split(size: int, seed: int, side: int = 8) -> ResidentSplit:
    """Return images of 8x8, or another side, whose bright quadrant is their class of four."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(size) % 4
    images = torch.randint(0, 100, (size, 1, side, side), generator=generator, dtype=torch.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[:, top : top + 4, left : left + 4] += 120
    return ResidentSplit(torch.arange(size), images, labels)


def make_data(side: int = 8) -> TrainingData:
    task = Task((1, side, side), (80.0,), (64.0,), 4)
    labeled, unlabeled, val = (make_split(size, seed, side) for seed, size in enumerate((12, 60, 40)))
    return TrainingData(labeled, unlabeled, val, task, "fingerprint")


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Return a function that makes a trainer in the test's folder, or in one named ``out``, on images of ``side``."""

    def make(out: str = "run", side: int = 8, **changes: Any) -> Trainer:
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        return Trainer(make_config(**changes), make_data(side), ALONE, folder)

    return make


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """Return a function that makes a trainer of small models in fp64; by default linear ones, that descend plainly."""
    from tests.pipeline.by_hand import SETTINGS
    from tests.pipeline.rank_worker import in_double_precision

    monkeypatch.setattr("pipeline.training.factory.build_module", in_double_precision)

    def build(**changes: Any) -> Trainer:
        return Trainer(resolve(merge(BASE, SETTINGS), changes), make_data(), ALONE, tmp_path)

    return build


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return every tensor of a trainer's state, by a unique name."""
    found: dict[str, torch.Tensor] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, torch.Tensor):
            found[path] = node.clone()
        elif isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{path}/{key}")

    walk(trainer.state_dict(), "")
    return found


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    """Assert equality bit for bit."""
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different
