"""The command smpl evaluate: the numbers of training's own evaluation, from the exported file and a prepared set."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from pipeline.commands.evaluate import main
from pipeline.data.batches.split import DataSplit
from pipeline.evaluation.class_scores import evaluate_classes, regroup
from pipeline.evaluation.tables import MAX_ROWS, Evaluation, Score, tables
from pipeline.precision import choose_precision
from pipeline.train import main as train
from tests.pipeline.conftest import ALONE
from tests.pipeline.streams import encode, smooth

TINY = [
    "--batch-size",
    "4",
    "--mu",
    "2",
    "--set",
    "model.width=4",
    "--set",
    "eval_every=50",
    "--set",
    "optimizer.warmup=0",
]
ENSEMBLE = ["--method", "roleplay", "--steps", "60", "--set", "roleplay.period=5", "--set", "roleplay.warmup=5"]
PHOTOS = [
    "--dataset",
    "folder",
    "--source",
    "images",
    "--method",
    "supervised",
    "--steps",
    "2",
    "--set",
    "data.test=20%",
]
PHOTOS += ["--set", "model.name=small_conv", "--set", "augment.size=24", "--set", "augment.cutout=8"]
FAST = [*PHOTOS, "--method", "uda", "--set", "model.name=fast_conv", "--set", "test_views=mirror-shift"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with finished runs: an ensemble on digits, and two single networks on photographs of many sizes."""
    folder = tmp_path_factory.mktemp("home")
    for number in range(66):
        path = folder / "images" / "abc"[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(smooth(32 + number % 5, 30 + number % 7, number)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SMPL_DATA", "data")
        patch.delenv("SMPL_RUNS", raising=False)
        for name, settings in {"digits": ENSEMBLE, "photos": PHOTOS, "fast": FAST}.items():
            result = CliRunner().invoke(train, ["--out", name, *TINY, *settings])
            assert result.exit_code == 0, result.output
        yield folder


@pytest.fixture(autouse=True)
def there(home: Path) -> Path:
    return home


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def refused(code: int, *arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


def measure(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json", "found/it.json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(Path("found/it.json").read_text())
    return found


def numbers(found: dict[str, Any]) -> dict[str, float]:
    return {name: found[name] for name in ("accuracy", "loss")}


@pytest.mark.slow
@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", ["digits", "photos", "fast"])
def test_the_numbers_are_those_of_training_to_the_last_bit(name: str, split: str) -> None:
    summary = json.loads(Path(name, "summary.json").read_text())
    found = measure(name, "--split", split)
    assert numbers(found) == summary["results"]["last, averaged"][split]
    members = {"first", "second"} if name == "digits" else set()
    assert set(found["members"]) == members
    for member in members:
        assert numbers(found["members"][member]) == summary["results"][f"last, averaged, {member}"][split]
    assert (found["loader"], found["data"]["fingerprint"]) == (summary["loader"], summary["data"])


def test_views_at_test_time_are_the_run_s_unless_others_are_asked_for_and_are_said() -> None:
    summary = json.loads(Path("fast", "summary.json").read_text())
    assert summary["test_views"] == "mirror-shift"
    own, plain = measure("fast"), measure("fast", "--test-views", "plain")
    assert (own["test_views"], plain["test_views"]) == ("mirror-shift", "plain")
    assert own["loss"] != plain["loss"]
    line = "note: each image is scored by its mean over mirror-shift views"
    assert line in run("fast").stdout.splitlines()
    assert line not in run("fast", "--test-views", "plain").stdout
    assert measure("photos")["test_views"] == "plain"


def test_points_have_no_mirror_image() -> None:
    result = CliRunner().invoke(train, ["--recipe", "moons", "--set", "test_views=mirror", "--out", "points"])
    assert result.exit_code == 2
    assert "test_views: mirror is for pictures, moons has points; leave it out" in result.output


def test_classes_and_confusions_follow_from_the_matrix() -> None:
    found = measure("digits")
    matrix = np.array(found["confusion"])
    assert matrix.sum() == found["images"] == 400
    assert 100 * matrix.trace() / 400 == pytest.approx(found["accuracy"])
    for number, row in enumerate(found["classes"]):
        assert (row["name"], row["images"]) == (str(number), 40)
        assert row["accuracy"] == pytest.approx(100 * matrix[number, number] / 40)
    first = found["confused"][0]
    assert first["images"] == max(matrix[a, b] for a in range(10) for b in range(10) if a != b)
    assert matrix[int(first["name"]), int(first["taken_for"])] == first["images"]


def test_the_text_says_the_score_the_worst_class_and_that_choosing_spoils_the_test() -> None:
    found, lines = measure("digits"), run("digits").stdout.splitlines()
    assert f"ensemble  {found['accuracy']:.2f} %, loss {found['loss']:.4f}" in lines
    assert any(line.startswith("second ") for line in lines)
    worst = min(found["classes"], key=lambda row: row["accuracy"])
    first = lines[next(place for place, line in enumerate(lines) if line.startswith("class,")) + 1]
    assert f"{worst['accuracy']:.2f}" in first
    assert "spoils" in lines[-1]
    assert "spoils" not in run("digits", "--split", "val").stdout


def test_the_size_of_batches_changes_no_decision() -> None:
    usual = measure("digits")
    for size in ("7", "1000"):
        found = measure("digits", "--batch-size", size)
        assert found["confusion"] == usual["confusion"]
        assert found["loss"] == pytest.approx(usual["loss"], rel=1e-5)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 100])
def test_batches_are_regrouped_in_order(size: int) -> None:
    samples = torch.arange(11)
    batches = list(zip(samples.split(4), samples.split(4), strict=True))
    found = [labels for _, labels in regroup(batches, size)]
    assert torch.equal(torch.cat(found), samples)
    assert all(len(labels) == size for labels in found[:-1])


def test_a_file_alone_is_enough_with_the_data(tmp_path: Path) -> None:
    shutil.copy("digits/model.safetensors", tmp_path / "it.safetensors")
    alone = str(tmp_path / "it.safetensors")
    assert "--data-dir" in refused(2, alone)
    found = measure(
        alone, "--data-dir", "data/digits-20-seed0", "--precision", "fp32"
    )  # as the run's configuration has it
    usual = measure("digits")
    assert numbers(found) == numbers(usual)
    assert found["model"]["sha256"] == usual["model"]["sha256"]


def test_another_set_of_the_same_classes_is_scored_with_a_note() -> None:
    prepare(PrepareRequest("digits", out=Path("other"), labels=40, val=0, seed=3))
    result = run("digits", "--data-dir", "other")
    assert (result.exit_code, "another prepared set" in result.stdout) == (0, True)
    assert "it has labeled, unlabeled, test" in refused(2, "digits", "--data-dir", "other", "--split", "val")


def test_images_of_unknown_class_are_not_scored() -> None:
    logits = torch.tensor([[9.0, 0], [9, 0], [0, 9], [0, 9]])
    batches = [(logits[:3], torch.tensor([0, 1, -1])), (logits[3:], torch.tensor([-1]))]
    precision = choose_precision("fp32", ALONE.device)
    found = evaluate_classes(nn.Identity(), batches, ["a", "b"], ALONE, precision)
    assert (found.images, found.unknown, found.score.accuracy) == (2, 2, 50)
    assert found.confusion.tolist() == [[1, 0], [1, 0]]
    assert found.score.loss == pytest.approx(4.5, abs=1e-3)


def test_a_thousand_classes_make_a_short_text() -> None:
    matrix = np.random.default_rng(0).integers(0, 9, (1000, 1000))
    lines = list(tables(Evaluation([f"n{number:08d}" for number in range(1000)], Score(1, 9), {}, matrix)))
    assert f"and {1000 - MAX_ROWS} more" in lines
    assert len(lines) < 2 * MAX_ROWS + 10


def test_what_cannot_be_evaluated_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "no such run" in refused(2, "nowhere")
    assert "no run folder" in refused(2, str(tmp_path))
    shutil.copy("digits/config.yaml", tmp_path)
    assert "--test-only" in refused(2, str(tmp_path))
    prepare(PrepareRequest("moons", out=tmp_path / "moons"))
    assert "it has 2 classes, the model 10" in refused(2, "digits", "--data-dir", str(tmp_path / "moons"))
    assert "smpl-data prepare" in refused(2, "digits", "--data-dir", str(tmp_path / "none"))
    assert "is not a file" in refused(2, "digits", "--json", str(tmp_path))
    assert "is not a file" in refused(2, "digits", "--json", "/dev/null")


def test_images_of_another_kind_are_refused(tmp_path: Path) -> None:
    folder = shutil.copytree("data/digits-20-seed0", tmp_path / "colored")
    manifest = json.loads((folder / "manifest.json").read_text())
    changes = {"shape": [8, 8, 3], "mean": manifest["mean"] * 3, "std": manifest["std"] * 3}
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    assert "3x8x8 (C x H x W), the model's 1x8x8" in refused(2, "digits", "--data-dir", str(folder))


def test_damage_ends_with_exit_code_3(tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    whole = Path("digits/model.safetensors").read_bytes()
    model.write_bytes(whole[:-40])
    assert "model.safetensors is damaged" in refused(3, str(model), "--data-dir", "data/digits-20-seed0")
    folder = shutil.copytree("data/digits-20-seed0", tmp_path / "set")
    shard = next(folder.glob("test-*.tar"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert shard.name in refused(3, "digits", "--data-dir", str(folder))


def test_only_the_split_that_was_asked_for_is_opened_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    from pipeline.data.prepared_set import PreparedSet

    before = PreparedSet.open

    def watched(self: PreparedSet, split: str) -> DataSplit:
        opened.append(split)
        return before(self, split)

    monkeypatch.setattr(PreparedSet, "open", watched)
    assert run("digits", "--split", "val").exit_code == 0
    assert opened == ["val"]
