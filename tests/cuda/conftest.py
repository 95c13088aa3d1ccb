"""Fixtures of the tests on a GPU; none of these tests has run on one yet.

They repeat tests of tests/pipeline with the same settings, with data and networks on the first GPU.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.config.resolve import merge, resolve
from pipeline.data.resident.split import ResidentSplit
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.world import World, make_deterministic
from pipeline.training.trainer import Trainer
from tests.pipeline.by_hand import SETTINGS
from tests.pipeline.conftest import BASE, make_config, make_data
from tests.pipeline.distributed.test_world import METHODS
from tests.pipeline.rank_worker import in_double_precision

HERE = Path(__file__).parent
GPU = torch.device("cuda", 0)
ALONE = World(0, 1, GPU)
COMPILES = ("off", "auto", "max")
FAST = ("uda", "mpl", "smpl-shared", "metasemi")
"""Methods that are also tested compiled; each compilation takes seconds."""
CASES = [(name, "off") for name in METHODS] + [(name, compiled) for name in FAST for compiled in COMPILES[1:]]
"""Names of methods, each with a value of ``compile``."""
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the compiled tests last, so that the others are done if the time of the GPU suite ends before these."""
    items.sort(key=lambda item: item.path.parent == HERE and _compiles(item))  # a stable sort


def _compiles(item: pytest.Item) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get("compiled", "off") not in {"off", False}


@pytest.fixture(autouse=True)
def as_a_rank() -> None:
    """Set torch as a rank does at its start, and nothing more, since law 2 must hold with these settings."""
    make_deterministic()


@pytest.fixture(autouse=True)
def reset_compiler() -> Iterator[None]:
    """Remove what a test compiled, so that no other test uses it."""
    yield
    torch.compiler.reset()


def data_there() -> TrainingData:
    """Return the small worlds' data, on the GPU."""
    data = make_data()
    splits = {name: there(getattr(data, name)) for name in ("labeled", "unlabeled", "val")}
    return replace(data, **splits)


def there(split: ResidentSplit) -> ResidentSplit:
    return replace(split, ids=split.ids.to(GPU), images=split.images.to(GPU), labels=split.labels.to(GPU))


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Return a function that makes a trainer on the GPU in the test's folder, or in one named ``out``."""

    def make(out: str = "run", **changes: object) -> Trainer:
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        return Trainer(make_config(**changes), data_there(), ALONE, folder)

    return make


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """Return a function that makes a trainer of linear models in fp64 on the GPU, whatever the default device."""
    monkeypatch.setattr("pipeline.training.factory.build_module", in_double_precision)

    def build(**changes: object) -> Trainer:
        with torch.device("cpu"):
            return Trainer(resolve(merge(BASE, SETTINGS), changes), data_there(), ALONE, tmp_path)

    return build
