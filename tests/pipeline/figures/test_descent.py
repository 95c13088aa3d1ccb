"""The measured steps of the descent against steps by hand, in fp64."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from sklearn.datasets import make_moons
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from pipeline.cli import main
from pipeline.config.recipes import load_recipe
from pipeline.config.resolve import resolve
from pipeline.config.schema import Config
from pipeline.data.training_splits import TrainingData, load_training_data
from pipeline.figures.descent import SINGLE_PROCESS, Descent, TrueLoss, build_trainer, count, measure, weights_of
from pipeline.figures.loss_surface import Plane, window
from pipeline.training.compilation import Compiler
from pipeline.training.factory import build_loader
from tests.pipeline.by_hand import gradient
from tests.pipeline.comparison.test_compare import in_a_folder_of_its_own
from tests.pipeline.rank_worker import in_double_precision

__all__ = ["in_a_folder_of_its_own"]
RATE = 0.7


def points(folder: Path, **options: Any) -> TrainingData:
    manifest = prepare(PrepareRequest("moons", out=folder, **options))
    return load_training_data(folder, manifest, SINGLE_PROCESS, unlabeled=True)


def by_hand(config: Config, data: TrainingData, start: int) -> list[Tensor]:
    """Return the weights [P] before the steps, after the supervised one, and after each of SMPL's."""
    trainer, loader = build_trainer(config, data, "supervised"), build_loader(config, data, SINGLE_PROCESS, Compiler())
    module = trainer.networks["model"].module
    shapes = [(name, parameter.shape) for name, parameter in module.named_parameters()]

    def logits(theta: Tensor, images: Tensor) -> Tensor:
        parts = theta.split([shape.numel() for _, shape in shapes])
        return functional_call(
            module, {name: part.view(shape) for (name, shape), part in zip(shapes, parts, strict=True)}, (images,)
        )

    def error(theta: Tensor, number: int = start) -> Tensor:
        batch = loader.batch(number)
        return F.cross_entropy(logits(theta, batch.labeled), batch.labels)

    theta = weights_of(trainer)
    for number in range(start):
        theta = theta - config.optimizer.lr * gradient(partial(error, number=number), theta)
    images = loader.batch(start).weak
    label = logits(theta, images).argmax(1)
    first = theta - RATE * gradient(lambda w: F.cross_entropy(logits(w, images), label), theta)
    h = error(theta) - error(first)
    assert h.abs() > 1e-3
    second = first - RATE * gradient(lambda w: error(w) + h * F.cross_entropy(logits(w, images), label), first)
    return [theta, theta - RATE * gradient(error, theta), first, second]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return points(tmp_path_factory.mktemp("moons") / "6")


@pytest.mark.slow
def test_the_places_are_those_of_steps_by_hand(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.factory.build_module", in_double_precision)
    config = resolve(load_recipe("moons"), {"mu": 4, "optimizer": {"lr": 0.2}})
    for descent, start in zip(measure(config, data, [3, 0], RATE), [0, 3], strict=True):
        assert descent.start == start
        torch.testing.assert_close(descent.weights, torch.stack(by_hand(config, data, start)), rtol=1e-9, atol=1e-12)


def test_the_steps_are_plain_descent_whatever_the_recipe_trains_with(data: TrainingData) -> None:
    plain = resolve(load_recipe("moons"), {"mu": 4})
    heavy = resolve(plain.tree(), {"optimizer": {"momentum": 0.9, "clip": 1e-3, "schedule": "cosine", "warmup": 9}})
    (one,), (other,) = (list(measure(config, data, [0], RATE)) for config in (plain, heavy))
    assert torch.equal(one.weights, other.weights)


def test_both_forms_of_smpl_are_measured_after_each_of_their_steps(data: TrainingData) -> None:
    recipe = load_recipe("moons")
    forms = [resolve(recipe, {"mu": 4, "smpl": {"form": form}}) for form in ("shared-graph", "recompute")]
    (shared,), (recomputed,) = (list(measure(config, data, [0], RATE)) for config in forms)
    torch.testing.assert_close(shared.weights[2], recomputed.weights[2])
    assert (shared.weights[3] - recomputed.weights[3]).norm() > 1e-3


@pytest.mark.parametrize("include_labeled", [True, False])
def test_the_true_loss_takes_each_training_point_once(tmp_path: Path, include_labeled: bool) -> None:
    data = points(tmp_path, include_labeled=include_labeled)
    config = resolve(load_recipe("moons"), {})
    trainer = build_trainer(config, data, "smpl")
    images, labels = make_moons(2000, noise=0.2, random_state=0)
    logits = trainer.networks["model"].module.double()(torch.from_numpy(images.astype("float32")).view(-1, 1, 1, 2))
    expected = F.cross_entropy(logits, torch.from_numpy(labels)).item()
    assert TrueLoss(config, data)(weights_of(trainer)) == pytest.approx(expected, rel=1e-12)


def test_claims_are_counted() -> None:
    nowhere = torch.zeros(4, 1)
    paper, ours = (Descent(0, nowhere, losses) for losses in [(0.5, 0.4, 0.6, 0.3), (0.5, 0.4, 0.6, 0.45)])
    assert list(count([paper, ours, ours]).values()) == [3, 3, 3, 1, 1]


def test_the_plane_holds_both_steps_of_smpl_and_the_window_all_places() -> None:
    places = torch.randn(4, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plane = Plane.of(Descent(0, places, ()))
    torch.testing.assert_close(plane.basis.T @ plane.basis, torch.eye(2, dtype=torch.float64))
    for place in places[[0, 2, 3]]:
        torch.testing.assert_close(plane.weights(plane.project(place)), place)
    assert plane.outside(places[2]) < 1e-12
    assert plane.outside(places[1]) > 0.5
    shown, flat = torch.stack([plane.project(place) for place in places]), window(torch.zeros(4, 2))
    assert (window(shown).amin((0, 1)) < shown.amin(0)).all()
    assert (window(shown).amax((0, 1)) > shown.amax(0)).all()
    assert flat.isfinite().all()


def descend(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["descent", "--set", "mu=4", *arguments])


@pytest.mark.slow
def test_the_command_prepares_each_seed_s_labels_counts_and_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.commands.descent.STARTS", (0, 2))
    monkeypatch.setattr("pipeline.figures.loss_surface.GRID", 9)
    result = descend("--seeds", "2", "--seed", "1", "--start", "1", "--set", "data.labels=5+1", "--out", "a/b.png")
    assert result.exit_code == 0, result.output
    assert {path.name for path in Path("data").iterdir()} == {"moons-5+1-seed0", "moons-5+1-seed1"}
    assert "5+1 labels, seed 1, after 1 supervised steps, rate 0.1" in result.stdout
    starts = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("| ")]
    assert starts == ["start", "0", "1", "2"]
    assert Path("a/b.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "digits-smpl"], "recipe digits-smpl is for digits"),
        (["--recipe", "moon"], "no such recipe"),
        (["--set", "smpl.wait=1"], "smpl.wait"),
        (["--seeds", "2", "--seed", "2"], "--seed 2: seeds 0 to 1 are measured"),
        (["--seeds", "1", "--rate", "1e30"], "rate 1e+30: a gradient of smpl is not finite"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str) -> None:
    result = descend(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    assert not Path("descent.png").exists()


def test_another_set_in_the_usual_place_is_refused() -> None:
    prepare(PrepareRequest("digits", out=Path("data/moons-6-seed0")))
    result = descend("--seeds", "1")
    assert result.exit_code == 2
    assert "holds digits, not moons" in result.stderr
