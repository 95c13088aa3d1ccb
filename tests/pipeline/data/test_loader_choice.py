"""``auto`` chooses the fastest loader that fits; a loader that is named is used, or refused in one line."""

from dataclasses import replace

import pytest

from data_prep.dataset.manifest import Manifest
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import UsageError
from pipeline.data import loader_choice
from pipeline.data.loader_choice import choose_loader, decoded_bytes, free_memory
from pipeline.data.streaming import dali
from pipeline.task import Task, view_side
from tests.pipeline.conftest import CPU


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return prepare(PrepareRequest("digits", out=tmp_path_factory.mktemp("digits") / "set"))


def varied(manifest: Manifest) -> Manifest:
    color = {"mean": manifest.mean * 3, "std": manifest.std * 3}
    return replace(manifest, shape=(0, 0, 3), image_format="jpeg", **color)


def test_small_images_of_one_size_are_resident(digits: Manifest) -> None:
    size = 64 * sum(shard.samples for shard in digits.shards)
    assert decoded_bytes(digits) == size
    assert str(choose_loader("auto", digits, None, CPU)) == f"loader: resident (digits is {size / 1e3:.0f} kB decoded)"


def test_what_does_not_fit_streams(digits: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_choice, "free_memory", lambda _: 4 * decoded_bytes(digits))
    assert choose_loader("auto", digits, None, CPU).name == "resident"
    monkeypatch.setattr(loader_choice, "free_memory", lambda _: 4 * decoded_bytes(digits) - 1)
    assert choose_loader("auto", digits, None, CPU).name == "webdataset"
    assert choose_loader("resident", digits, None, CPU).name == "resident"


def test_ranks_of_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = free_memory(CPU)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert 0 < free_memory(CPU) < whole / 100


def test_images_of_many_sizes_stream(digits: Manifest) -> None:
    assert choose_loader("auto", varied(digits), None, CPU).name == "webdataset"
    with pytest.raises(UsageError, match=r"^loader\.name: digits cannot be resident"):
        choose_loader("resident", varied(digits), None, CPU)
    with pytest.raises(UsageError, match=r"^loader\.name: digits cannot be resident"):
        choose_loader("resident", digits, 32, CPU)


def test_without_dali_it_is_refused_with_the_remedy(digits: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali, "has_dali", lambda: False)
    with pytest.raises(UsageError, match=r"pip install smpl-pipeline\[dali\]"):
        choose_loader("dali", digits, None, CPU)


def test_the_task_has_the_shape_of_the_views(digits: Manifest) -> None:
    assert Task.of(digits).shape == Task.of(digits, 8).shape == (1, 8, 8)
    assert view_side(digits, 8) is None
    assert Task.of(digits, 32).shape == (1, 32, 32)
    assert Task.of(varied(digits)).shape == (3, 224, 224)
    assert Task.of(varied(digits), 64).shape == (3, 64, 64)
