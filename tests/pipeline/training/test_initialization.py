"""Models that compute first weights from training images do so at the start of a run alone, from the same images."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from data_prep.dataset.manifest import Manifest
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from pipeline.data.training_splits import TrainingData
from pipeline.models.fast_conv import FastConv
from pipeline.models.whitening import whitening_filters
from pipeline.task import Task
from pipeline.training import initialization
from pipeline.training.initialization import initialize_from_images
from pipeline.training.trainer import Trainer
from tests.pipeline.conftest import make_data
from tests.pipeline.streams import stored_splits

SETTINGS = {"side": 9, "model": {"name": "fast_conv", "width": 4}}


class Witness(torch.nn.Module):
    """A model that remembers the images it was given."""

    def initialize_from(self, batches: Iterable[Tensor]) -> None:
        self.seen = torch.cat(list(batches))


def shown(data: TrainingData) -> Tensor:
    """Return the images that a model gets, as they are stored."""
    witness = Witness()
    initialize_from_images([torch.nn.Sequential(torch.nn.Identity(), witness)], data)
    return witness.seen


def filters_of(trainer: Trainer, network: str = "model") -> Tensor:
    return trainer.networks[network].module.get_parameter("1.whiten.weight").detach().clone()


def test_a_run_begins_with_filters_of_its_normalized_unlabeled_images(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(method="uda", **SETTINGS)
    assert trainer.data.unlabeled is not None
    images, _ = next(trainer.data.unlabeled.read([torch.arange(60)]))
    expected = whitening_filters([(images - 80.0) / 64.0], 2)
    torch.testing.assert_close(filters_of(trainer), torch.cat([expected, -expected]).float())
    averaged = trainer.averages["model"].network.get_parameter("1.whiten.weight")
    assert torch.equal(averaged, filters_of(trainer)), "the average is made after it"


def test_both_networks_of_a_method_have_the_same(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(method="mpl", **SETTINGS)
    assert torch.equal(filters_of(trainer, "teacher"), filters_of(trainer, "student"))
    first = [trainer.networks[name].module.get_parameter("1.head.weight") for name in ("teacher", "student")]
    assert not torch.equal(*first)


def test_a_model_gets_evenly_spaced_images_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data()
    assert data.unlabeled is not None
    assert torch.equal(shown(data), next(data.unlabeled.read([torch.arange(60)]))[0])
    monkeypatch.setattr(initialization, "IMAGES", 20)
    assert torch.equal(shown(data), next(data.unlabeled.read([3 * torch.arange(20)]))[0])


def test_a_method_without_unlabeled_images_uses_the_labeled_ones() -> None:
    data = make_data()
    bare = TrainingData(data.labeled, None, data.val, data.task, data.fingerprint)
    assert torch.equal(shown(bare), next(data.labeled.read([torch.arange(12)]))[0])


def test_the_images_are_the_same_resident_and_streamed(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    manifest: Manifest = prepare(PrepareRequest("digits", out=folder, val=0))
    task = Task((1, 8, 8), (0.0,), (1.0,), 10)
    sets = (TrainingData(*stored_splits(folder, manifest, kind), None, task, "") for kind in (None, "webdataset"))  # type: ignore[misc]
    resident, streamed = map(shown, sets)
    assert len(resident) > 1000
    assert torch.equal(resident, streamed)


def test_a_run_that_is_resumed_or_starts_from_another_does_not_compute_them_again(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_trainer(out="first", **SETTINGS)
    first.train(until=3)
    first.save()
    monkeypatch.setattr(FastConv, "initialize_from", lambda *_: pytest.fail("computed again"))
    resumed = make_trainer(out="first", **SETTINGS)
    resumed.restore()
    assert torch.equal(filters_of(resumed), filters_of(first))
    make_trainer(out="second", start="somewhere", **SETTINGS)
