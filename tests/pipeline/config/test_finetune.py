"""Fine-tuning a finished run, starting from one, and using its exported model elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data_prep.dataset.manifest import load_manifest
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import DataError, UsageError
from pipeline.config.command_line import read_config
from pipeline.config.finetune import default_finetune_folder, finetune_recipe
from pipeline.config.recipes import load_recipe
from pipeline.config.resolve import resolve
from pipeline.config.schema import Config
from pipeline.data.training_splits import load_training_data
from pipeline.models.ensemble import Ensemble
from pipeline.models.export import assemble, bare_network, export_model, load_model, read_export
from pipeline.models.pretrained import read_weights
from pipeline.models.torchvision_model import TorchvisionModel
from pipeline.task import Task
from pipeline.train import main
from pipeline.training.trainer import Trainer
from pipeline.training.warm_start import load_start_weights
from tests.pipeline.conftest import ALONE
from tests.pipeline.processes import search_path

TINY = ["--steps", "3", "--batch-size", "4", "--mu", "1", "--nproc", "1"]
NARROW = ["--set", "model.width=4"]
PLAIN = ["--set", "model.name=mlp"]
DATA = Path("data/digits-20-seed0")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with finished runs: of one network with BN, of one without, and of an ensemble."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.chdir(folder)
        patch.setenv("SMPL_DATA", str(folder / "data"))
        pair = ["pair", *NARROW, "--method", "roleplay", "--set", "roleplay.warmup=0"]
        for arguments in (["conv", *NARROW], ["plain", *PLAIN], pair):
            result = run("--out", *arguments, *TINY)
            assert result.exit_code == 0, result.output
        yield folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def model_of(out: str) -> dict[str, torch.Tensor]:
    return load_file(Path(out) / "model.safetensors")


def bare_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a model's tensors by the names that they have in an exported file."""
    members = {f"{name}.": member for name, member in model.items()} if isinstance(model, Ensemble) else {"": model}
    states = {prefix: bare_network(member).state_dict() for prefix, member in members.items()}
    return {prefix + name: tensor for prefix, state in states.items() for name, tensor in state.items()}


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def built(out: str, **changes: Any) -> Trainer:
    """Return the trainer of a run before its first step."""
    config: Config = resolve(load_recipe(f"{out}/config.yaml"), changes)
    data = load_training_data(DATA, load_manifest(DATA), ALONE, unlabeled=False)
    return Trainer(config, data, ALONE, Path(out))


def restored(out: str) -> Trainer:
    """Return the trainer of a run at its newest checkpoint."""
    trainer = built(out)
    trainer.restore()
    return trainer


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs end where they start."""
    monkeypatch.setattr(Trainer, "train", lambda self: None)


@pytest.mark.slow
def test_the_recipe_is_the_run_s_own_but_for_what_fine_tuning_has_otherwise(tmp_path: Path) -> None:
    settings = ("networks.student.dropout=0.25", "networks.student.weight_decay=0.5", "networks.teacher.lr=0.7")
    config = read_config("cifar10-4k-mpl", {"seed": 3}, (*settings, "augment.labeled=strong", "ema=0.9"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.tree()))
    found = resolve(finetune_recipe(tmp_path), {})
    assert (found.method, found.start, found.networks, found.sections) == ("supervised", str(tmp_path), {}, {})
    assert found.steps == config.finetune.steps == 5000
    assert found.model == config.model | {"dropout": 0.25}
    optimizer = {"lr": config.finetune.lr, "schedule": "constant", "warmup": 0, "weight_decay": 0.5}
    assert found.optimizer == config.optimizer.model_copy(update=optimizer)
    assert found.augment == config.augment.model_copy(update={"labeled": "weak"})
    same = ("dataset", "seed", "batch_size", "label_smoothing", "ema", "eval_every", "data", "finetune")
    assert all(getattr(found, name) == getattr(config, name) for name in same)


def test_the_pretrained_weights_of_the_run_are_not_loaded_again(tmp_path: Path) -> None:
    config = resolve({}, {"model": {"name": "torchvision", "weights": "gone.pt", "freeze": "layer1"}})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.tree()))
    assert resolve(finetune_recipe(tmp_path), {}).model == config.model | {"weights": None}


def test_flags_beat_the_recipe() -> None:
    config = read_config(None, {"steps": 5}, ("finetune.lr=0.125", "optimizer.momentum=0.5"), Path("conv"))
    assert (config.steps, config.optimizer.lr, config.optimizer.momentum) == (5, 0.125, 0.5)
    assert read_config(None, {}, ("finetune.steps=6",), Path("conv")).steps == 6
    assert read_config(None, {}, ("finetune.lr=0.125", "optimizer.lr=0.25"), Path("conv")).optimizer.lr == 0.25


def test_rate_and_length_of_a_fine_tuning_do_not_shape_the_run_itself_but_its_network_does() -> None:
    before = resolve({}, {}).fingerprint()
    assert resolve({}, {"finetune": {"lr": 1.0, "steps": 3}}).fingerprint() == before
    assert resolve({}, {"finetune": {"network": "first"}}).fingerprint() != before
    assert resolve({}, {"start": "conv"}).fingerprint() != before


@pytest.mark.parametrize(
    ("run_folder", "name"), [("runs/x", "runs/x-finetuned"), ("runs/x/", "runs/x-finetuned"), ("a.b", "a.b-finetuned")]
)
def test_the_folder_of_a_fine_tuning_is_beside_the_run_s(run_folder: str, name: str) -> None:
    assert default_finetune_folder(Path(run_folder)) == Path(name)


def test_a_run_can_be_named_from_within(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x/y").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "x/y")
    assert default_finetune_folder(Path()) == tmp_path / "x/y-finetuned"
    assert default_finetune_folder(Path("..")) == tmp_path / "x-finetuned"


def test_at_rate_zero_weights_and_accuracy_stay_and_no_unlabeled_image_is_read() -> None:
    shutil.copytree(DATA, "labeled-only")
    for shard in Path("labeled-only").glob("unlabeled-*"):
        shard.unlink()
    result = run("--finetune", "plain", "--set", "finetune.lr=0", "--steps", "3", "--data-dir", "labeled-only")
    assert result.exit_code == 0, result.output
    assert "starting from the averaged weights of plain" in result.stderr
    assert_equal(model_of("plain-finetuned"), model_of("plain"))
    before, after = (json.loads(Path(out, "summary.json").read_text()) for out in ("plain", "plain-finetuned"))
    assert after["results"]["last, averaged"] == before["results"]["last, averaged"]
    assert (after["method"], after["steps"]) == ("supervised", 3)


def test_fine_tuning_learns() -> None:
    result = run("--finetune", "plain", "--set", "finetune.lr=0.1", "--steps", "20", "--out", "learned")
    assert result.exit_code == 0, result.output
    assert not torch.equal(model_of("learned")["head.weight"], model_of("plain")["head.weight"])
    trainer, start = restored("learned"), load_model(Path("plain/model.safetensors"))
    images, labels = trainer.data.labeled.images, trainer.data.labeled.labels
    losses = [torch.nn.functional.cross_entropy(net(images), labels) for net in (trainer.models()["ema"], start)]
    assert losses[0] < losses[1]


@pytest.mark.usefixtures("untrained")
def test_the_first_average_is_the_exported_one() -> None:
    result = run("--finetune", "conv", "--out", "first-average")
    assert result.exit_code == 0, result.output
    assert_equal(model_of("first-average"), model_of("conv"))


def test_every_network_of_any_method_starts_from_the_run_and_so_do_their_averages() -> None:
    trainer = built("conv", method="mpl", start="conv")
    load_start_weights(trainer)
    for network in trainer.networks.values():
        assert_equal(bare_state(network.module), model_of("conv"))
    assert_equal(bare_state(trainer.models()["ema"]), model_of("conv"))


@pytest.mark.slow
def test_the_same_command_goes_on_and_needs_the_run_no_more() -> None:
    shutil.copytree("conv", "source")
    command = ["--finetune", "source", "--set", "finetune.lr=0.01", "--set", "save_every=2"]
    for out, lengths in {"at-once": [4], "in-parts": [2, 4]}.items():
        for steps in lengths:
            result = run(*command, "--out", out, "--steps", str(steps))
            assert result.exit_code == 0, result.output
    assert "resuming at step 2 of 4" in result.stderr
    assert_equal(model_of("at-once"), model_of("in-parts"))
    shutil.rmtree("source")
    assert run("--recipe", "in-parts/config.yaml", "--out", "in-parts", "--steps", "5").exit_code == 0


@pytest.mark.slow
def test_the_run_to_start_from_is_known_however_its_path_is_spelled_and_after_it_was_renamed() -> None:
    shutil.copytree("plain", "spelled")
    command = ["--out", "spelled-out", "--set", "finetune.lr=0.1"]
    for steps, path in enumerate(["spelled", "./spelled", Path("spelled").absolute(), "conv/../spelled"], 1):
        result = run("--finetune", str(path), *command, "--steps", str(steps))
        assert result.exit_code == 0, result.output
    Path("spelled").rename("renamed")
    result = run("--finetune", "renamed", *command, "--steps", "5")
    assert result.exit_code == 0, result.output
    assert "resuming at step 4 of 5" in result.stderr
    assert run("--out", "spelled-out", "--test-only").exit_code == 0


def test_a_run_that_began_at_a_path_goes_on_when_there_is_nothing_there_any_more() -> None:
    shutil.copytree("plain", "leaving")
    command = ["--set", "start=leaving", *PLAIN, *TINY, "--out", "begun", "--method", "supervised"]
    assert run(*command).exit_code == 0
    shutil.rmtree("leaving")
    assert run(*command, "--steps", "4").exit_code == 0


def test_another_run_under_the_same_path_is_refused() -> None:
    shutil.copytree("plain", "place")
    command = ["--finetune", "place", "--out", "placed", "--steps", "1"]
    assert run(*command).exit_code == 0
    assert run("--out", "other", *PLAIN, *TINY, "--seed", "7").exit_code == 0
    shutil.rmtree("place")
    shutil.copytree("other", "place")
    shutil.copy("plain/config.yaml", "place/config.yaml")
    result = run(*command)
    assert result.exit_code == 2
    assert "holds a run with another configuration: origin " in result.stderr


def test_a_resumed_fine_tuning_of_another_rate_is_refused() -> None:
    command = ["--finetune", "plain", "--out", "rated", "--steps", "1"]
    assert run(*command).exit_code == 0
    result = run(*command, "--set", "finetune.lr=0.5")
    assert result.exit_code == 2
    assert "optimizer.lr 5e-06 there, 0.5 here" in result.stderr


@pytest.mark.usefixtures("untrained")
def test_one_network_of_an_ensemble_is_fine_tuned() -> None:
    result = run("--finetune", "pair", "--set", "finetune.network=second", "--out", "second")
    assert result.exit_code == 0, result.output
    expected = {name.removeprefix("second."): tensor for name, tensor in model_of("pair").items() if "second." in name}
    assert_equal(model_of("second"), expected)


def test_an_ensemble_starts_from_an_ensemble_member_by_member() -> None:
    trainer = built("pair", start="pair")
    load_start_weights(trainer)
    assert_equal(bare_state(trainer.models()["raw"]), model_of("pair"))


@pytest.mark.slow
def test_two_processes_start_alike() -> None:
    command = [sys.executable, "-m", "pipeline.train", "--finetune", "plain", "--nproc", "2", "--out", "two"]
    environment = os.environ | {"PYTHONPATH": search_path()}
    settings = ["--steps", "2", "--set", "finetune.lr=0"]
    done = subprocess.run([*command, *settings], check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert_equal(model_of("two"), model_of("plain"))
    assert json.loads(Path("two/summary.json").read_text())["processes"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--finetune", "conv", "--recipe", "digits-smpl"], "leave --recipe, --method and start out"),
        (["--finetune", "conv", "--method", "uda"], "leave --recipe, --method and start out"),
        (["--finetune", "conv", "--set", "method=uda"], "leave --recipe, --method and start out"),
        (["--finetune", "conv", "--set", "start=plain"], "leave --recipe, --method and start out"),
        (["--finetune", "conv", "--set", "uda.weight=0.0"], "uda: method supervised does not read it"),
        (["--finetune", "conv", "--set", "finetune.lrr=1"], "finetune.lrr: unknown key; did you mean 'lr'"),
        (["--finetune", "conv", "--set", "finetune.network=first"], "conv has no network 'first'; choose from model"),
        (["--finetune", "nowhere"], "--finetune: nowhere holds no run"),
        (["--finetune", "pair"], "pair evaluates several networks; choose from first, second"),
        (["--finetune", "pair", "--set", "finetune.network=third"], "pair has no network 'third'; choose from first"),
        (["--set", "start=nowhere"], "start: there is no run folder nowhere"),
        (["--set", "start=data"], "start: data has not finished: there is no summary.json in it"),
        (["--set", "start=conv"], "the weights of conv do not fit the model: features.0.weight has shape [4,"),
        (["--set", "start=plain", *NARROW], "do not fit the model: there is no features.0.weight"),
        (["--set", "start=pair", *NARROW], "start: pair has the networks first, second: choose by finetune.network="),
        (["--set", "start=3"], "start: should be a valid string, not 3"),
    ],
)
def test_what_cannot_be_started_from_is_refused_in_one_line(arguments: list[str], message: str) -> None:
    result = run(*arguments, "--out", "refused")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not Path("refused").exists()


def test_a_run_that_lost_its_model_and_a_fine_tuning_into_the_run_itself_are_refused() -> None:
    shutil.copytree("conv", "bare")
    Path("bare/model.safetensors").unlink()
    result = run("--finetune", "bare")
    assert result.exit_code == 2
    assert "bare has not finished: there is no model.safetensors in it" in result.stderr
    result = run("--finetune", "conv", "--out", "conv")
    assert result.exit_code == 2
    assert "holds a run with another configuration" in result.stderr


def test_data_of_another_split_are_refused_with_both_fingerprints() -> None:
    prepare(PrepareRequest("digits", out=Path("other-split"), labels=20, val=100, seed=1))
    result = run("--finetune", "conv", "--data-dir", "other-split")
    assert result.exit_code == 2
    assert all(load_manifest(folder).fingerprint[:12] in result.stderr for folder in (DATA, Path("other-split")))
    assert "--data-dir" in result.stderr
    assert not Path("conv-finetuned").exists()


@pytest.mark.parametrize("out", ["conv", "plain", "pair"])
def test_a_loaded_model_gives_the_run_s_logits_to_the_bit(out: str) -> None:
    trainer, model = restored(out), load_model(Path(out, "model.safetensors"))
    images = trainer.data.val.images
    assert not model.training
    assert torch.equal(model(images), trainer.models()["ema"](images))
    assert_equal(bare_state(model), model_of(out))


def test_a_loaded_ensemble_is_its_members() -> None:
    model = load_model("pair/model.safetensors")
    images = restored("pair").data.val.images[:5]
    assert list(model) == ["first", "second"]
    assert torch.allclose(model(images), (model["first"](images) + model["second"](images)) / 2)


def test_a_loaded_model_asks_for_no_weights_but_its_own(tmp_path: Path) -> None:
    task = Task((3, 32, 32), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 2)
    options = {"architecture": "shufflenet_v2_x0_5"}
    network = assemble(TorchvisionModel, TorchvisionModel.Options(**options), task).eval()
    described = {"name": "torchvision", "weights": "gone.pt"} | options
    metadata = {"classes": json.dumps(["a", "b"]), "model": json.dumps(described)}
    export_model(tmp_path / "model", {"model": network}, task, metadata)
    images = torch.arange(2 * 3 * 32 * 32).view(2, 3, 32, 32) % 256
    assert torch.allclose(load_model(tmp_path / "model")(images), network(images), atol=1e-5)


def test_one_model_is_one_file_byte_for_byte(tmp_path: Path) -> None:
    """The library writes metadata in a random order, which differs between processes and calls."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    members, task = {"model": torch.nn.Sequential(torch.nn.Identity(), model)}, Task((3, 1, 1), (0.1,), (3.0,), 2)
    metadata = {name: f"ä{name}" for name in "abcdefgh"}
    for number in range(5):
        export_model(tmp_path / f"{number}.safetensors", members, task, metadata)
    first, *others = [path.read_bytes() for path in tmp_path.iterdir()]
    assert all(other == first for other in others)
    assert_equal(load_file(tmp_path / "0.safetensors"), dict(model.state_dict()))
    with safe_open(tmp_path / "0.safetensors", "pt") as file:
        facts = {"shape": "[1, 1, 3]", "mean": "[0.1]", "std": "[3.0]", "members": '{"model": ""}'}
        assert file.metadata() == metadata | facts


def test_the_metadata_say_how_images_are_normalized_and_whose_tensors_are_whose() -> None:
    task, manifest = read_export(Path("pair/model.safetensors")).metadata.task, load_manifest(DATA)
    assert task == Task.of(manifest)
    with safe_open(Path("pair/model.safetensors"), "pt") as file:
        assert json.loads(file.metadata()["members"]) == {"first": "first.", "second": "second."}
        assert {name.partition(".")[0] for name in file.keys()} == {"first", "second"}  # noqa: SIM118
    with safe_open(Path("plain/model.safetensors"), "pt") as file:
        assert json.loads(file.metadata()["members"]) == {"model": ""}


def test_an_older_export_is_refused_with_the_remedy_and_the_remedy_writes_a_new_one() -> None:
    words = ["--out", "older", *PLAIN, *TINY]
    shutil.copytree("plain", "older")
    path, new = Path("older/model.safetensors"), model_of("plain")
    with safe_open(path, "pt") as file:
        metadata = file.metadata() | {"members": '["model"]'}
    normalization = {"0.mean": torch.zeros(1), "0.scale": torch.ones(1)}
    save_file(normalization | {f"1.{name}": tensor for name, tensor in new.items()}, path, metadata)
    for load in (load_model, read_weights):
        with pytest.raises(DataError, match=r"remove summary\.json beside it and repeat") as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    Path("older/summary.json").unlink()
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert_equal(model_of("older"), new)


GOOD = {
    "classes": '["a"]',
    "shape": "[8, 8, 1]",
    "mean": "[0]",
    "std": "[1]",
    "model": '{"name": "mlp"}',
    "members": '{"model": ""}',
}


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"format": "pt"},
        GOOD,
        GOOD | {"shape": "[8]"},
        GOOD | {"classes": "["},
        GOOD | {"members": "{}"},
        {key: value for key, value in GOOD.items() if key != "mean"},
        GOOD | {"model": '{"name": "mpl"}'},
        GOOD | {"model": '{"name": "mlp", "depth": 3}'},
        GOOD | {"model": "{}"},
    ],
)
def test_a_foreign_file_is_refused_in_one_line_that_names_it(tmp_path: Path, metadata: dict[str, str]) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"other": torch.zeros(1)}, path, metadata)
    with pytest.raises(DataError) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = Path("conv/model.safetensors").read_bytes()
    for name, content in {"cut": whole[:-9], "short": whole[:30], "empty": b"", "text": b"not weights at all"}.items():
        (tmp_path / name).write_bytes(content)
    for name in ("cut", "short", "empty", "text", "missing", "."):
        with pytest.raises(DataError) as caught:
            load_model(tmp_path / name)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_damaged_model_to_start_from_is_exit_code_3() -> None:
    shutil.copytree("conv", "damaged")
    path = Path("damaged/model.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    result = run("--finetune", "damaged")
    assert result.exit_code == 3
    assert "damaged/model.safetensors" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_an_ensemble_without_a_choice_cannot_be_a_recipe() -> None:
    with pytest.raises(UsageError, match="several networks"):
        finetune_recipe(Path("pair"))
