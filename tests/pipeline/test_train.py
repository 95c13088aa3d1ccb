"""The command smpl-train: from the name of a data set to a trained model, and its error lines."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file

from data_prep.dataset.manifest import load_manifest
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.atomic_files import locked
from pipeline.commands.evaluate import main as evaluate
from pipeline.config.command_line import read_config
from pipeline.config.recipes import load_recipe
from pipeline.config.resolve import resolve
from pipeline.config.schema import Config
from pipeline.models.export import bare_network
from pipeline.task import Task
from pipeline.train import main
from pipeline.training.factory import build_module
from pipeline.training.results_table import results_table

SHORT = ["--steps", "4", "--batch-size", "4", "--mu", "2", "--set", "log_every=2", "--set", "eval_every=2"]
DIGITS = Path("data/digits-20-seed0")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMPL_DATA", str(tmp_path / "data"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_no_argument_but_length_trains_evaluates_and_writes_the_run_folder() -> None:
    result = run(*SHORT)
    assert result.exit_code == 0, result.output
    assert "test accuracy" in result.stdout
    folder = Path("runs/digits-smpl-seed0")
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["results"]) == {"last, averaged", "last, raw", "best, averaged", "best, raw"}
    assert all({"val", "test"} == row.keys() for row in summary["results"].values())
    assert summary["labels"] == 20
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["group"] == "train"] == [2, 4]
    assert {"loss", "h", "mask", "pseudo_precision", "images_per_s", "data_wait", "lr"} <= lines[0].keys()
    assert {line["group"] for line in lines} == {"train", "val/ema", "val/raw"}
    assert list((folder / "events").iterdir())
    assert list((folder / "checkpoints").glob("*.pt"))


@pytest.mark.slow
def test_the_last_lines_name_the_model_and_three_commands_that_work() -> None:
    result = run(*SHORT)
    folder = Path("runs/digits-smpl-seed0")
    assert result.stdout.splitlines()[-1].endswith(f"({folder})"), "standard output stays the table"
    *_, title, first, second, third = result.stderr.splitlines()
    assert f"the model: {folder}/model.safetensors; next, for example:" in title
    commands = [shlex.split(line.partition("INFO ")[2]) for line in (first, second, third)]
    assert [words[1] for words in commands] == ["evaluate", "--finetune", "--recipe"]
    for program, *words in commands:
        done = CliRunner().invoke(evaluate, words[1:]) if program == "smpl" else run(*words, "--steps", "2")
        assert done.exit_code == 0, done.output
    assert {path.name for path in Path("runs").iterdir()} == {
        "digits-smpl-seed0",
        "digits-smpl-seed0-finetuned",
        "digits-smpl-seed1",
    }


def test_a_ramp_that_the_run_ends_before_is_a_warning_at_its_start() -> None:
    """At step 4 of a ramp of 200, the unlabeled loss has 2 % of its weight: the table would compare something else."""
    result = run(*SHORT, "--method", "uda", "--set", "ramp=200", "--set", "optimizer.warmup=0")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "WARNING" in line]
    assert line.endswith("a run of 4 steps ends before ramp=200; set fewer steps there")
    assert "WARNING" not in run(*SHORT, "--set", "ramp=4", "--set", "optimizer.warmup=0", "--out", "other").stderr


@pytest.mark.slow
def test_the_exported_model_is_the_averaged_one_and_says_how_to_build_it() -> None:
    run(*SHORT)
    path = Path("runs/digits-smpl-seed0/model.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    config: Config = resolve(load_recipe("runs/digits-smpl-seed0/config.yaml"), {})
    assert json.loads(metadata["model"]) == config.model
    assert json.loads(metadata["classes"]) == [str(digit) for digit in range(10)]
    task = Task.of(load_manifest(Path("data/digits-20-seed0")))
    bare_network(build_module(config, "model", task)).load_state_dict(load_file(path))


@pytest.mark.slow
def test_the_same_call_again_trains_no_further_and_prints_the_result() -> None:
    first, second = run(*SHORT), run(*SHORT)
    assert second.exit_code == 0
    assert "resuming at step 4 of 4" in second.stderr
    assert first.stdout.splitlines()[-1] == second.stdout.splitlines()[-1]


@pytest.mark.slow
def test_more_steps_go_on_from_where_the_run_was() -> None:
    run(*SHORT)
    result = run(*SHORT, "--steps", "6")
    assert result.exit_code == 0
    assert "resuming at step 4 of 6" in result.stderr
    lines = [json.loads(line) for line in Path("runs/digits-smpl-seed0/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["group"] == "train"] == [2, 4, 6]


@pytest.mark.slow
def test_another_configuration_in_the_same_folder_is_refused_with_the_keys() -> None:
    run(*SHORT)
    result = run(*SHORT, "--set", "uda.weight=3", "--set", "ema=0.5")
    assert result.exit_code == 2
    assert "uda.weight 4.0 there, 3" in result.stderr
    assert "ema 0.99 there, 0.5 here" in result.stderr
    assert "--out" in result.stderr


@pytest.mark.slow
def test_data_prepared_in_another_format_is_accepted_if_it_has_the_options_of_the_recipe() -> None:
    prepare(PrepareRequest("digits", image_format="webp", shard_size=500))
    assert run(*SHORT).exit_code == 0


@pytest.mark.slow
def test_a_named_data_folder_sets_the_data_options() -> None:
    prepare(PrepareRequest("digits", out=Path("mine"), labels=40, val=50, seed=3, include_labeled=False))
    assert run(*SHORT, "--data-dir", "mine", "--out", "run").exit_code == 0
    data = load_recipe("run/config.yaml")["data"]
    options = {"labels": 40, "val": 50, "seed": 3, "include_labeled": False}
    assert data == options | {"extra": False, "test": None, "resize": None}


def test_a_second_run_in_the_same_folder_at_the_same_time_is_refused() -> None:
    Path("busy").mkdir()
    with locked(Path("busy/.lock")):
        result = run(*SHORT, "--out", "busy")
    assert result.exit_code == 2
    assert "another process is at work" in result.stderr


def test_a_file_in_place_of_the_run_folder_and_a_foreign_configuration_in_it_are_refused() -> None:
    Path("file").write_text("")
    assert run(*SHORT, "--out", "file").exit_code == 2
    Path("foreign").mkdir()
    for content in (b"foo: 1", b"\xff\xfe", b"- 1"):
        Path("foreign/config.yaml").write_bytes(content)
        result = run(*SHORT, "--out", "foreign")
        assert result.exit_code == 2
        assert "another --out" in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_finished_run_does_not_read_the_test_split_again() -> None:
    run(*SHORT)
    for shard in Path("data/digits-20-seed0").glob("test-*.tar"):
        shard.unlink()
    assert run(*SHORT).exit_code == 0
    assert run(*SHORT, "--steps", "5").exit_code == 3


@pytest.mark.slow
def test_a_damaged_summary_is_written_again_with_a_warning() -> None:
    run(*SHORT)
    path = Path("runs/digits-smpl-seed0/summary.json")
    before = path.read_text()
    path.write_text(before[:-20])
    result = run(*SHORT)
    assert result.exit_code == 0
    assert "summary.json: unreadable or damaged; the same smpl-train command writes it again" in result.stderr
    assert json.loads(path.read_text())["results"] == json.loads(before)["results"]


def test_the_log_has_no_carriage_returns_and_the_answer_is_the_table_alone() -> None:
    result = run(*SHORT)
    assert "\r" not in result.stderr
    assert result.stderr.count("INFO step ") == 2, "one line at each log interval"
    assert result.stdout.splitlines()[0].startswith("weights")
    reached = ("--set", "ramp=0", "--set", "optimizer.warmup=0")
    assert not run(*SHORT, *reached, "--out", "quiet", "-q").stderr


def test_a_run_that_refused_fewer_steps_is_as_it_was() -> None:
    run(*SHORT, "--out", "mine")
    files = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
    result = run(*SHORT, "--steps", "2", "--out", "mine")
    assert result.exit_code == 2
    assert "steps: mine is at step 4 already, beyond 2; give another --out" in result.stderr
    assert {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()} == files
    assert run(*SHORT, "--out", "mine").exit_code == 0


def test_a_run_remembers_the_folder_of_its_data(tmp_path: Path) -> None:
    """Scoring needs no --data-dir, in whatever folder the command is run."""
    prepare(PrepareRequest("digits", out=tmp_path / "elsewhere", seed=3))
    assert run(*SHORT, "--data-dir", "elsewhere", "--out", "mine").exit_code == 0
    shutil.rmtree("data", ignore_errors=True)
    result = run("--test-only", "--out", "mine")
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(evaluate, ["mine"])
    assert result.exit_code == 0, result.output


def test_fewer_steps_than_were_done_are_refused() -> None:
    run(*SHORT)
    result = run(*SHORT, "--steps", "3")
    assert result.exit_code == 2
    assert "at step 4 already" in result.stderr


@pytest.mark.slow
def test_a_line_torn_by_a_kill_does_not_spoil_the_next() -> None:
    run(*SHORT)
    path = Path("runs/digits-smpl-seed0/metrics.jsonl")
    path.write_text(path.read_text() + '{"step": 5, "gro')
    run(*SHORT, "--steps", "6")
    lines = path.read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 6


@pytest.mark.slow
def test_a_run_without_validation_split_has_no_best() -> None:
    result = run(*SHORT, "--set", "data.val=0")
    assert result.exit_code == 0, result.output
    summary = json.loads(Path("runs/digits-smpl-seed0/summary.json").read_text())
    assert set(summary["results"]) == {"last, averaged", "last, raw"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--dataset", "cifr10"], 2, "did you mean 'cifar10'"),
        (["--method", "fixmach"], 2, "unknown method 'fixmach'"),
        (["--recipe", "nothing.yaml"], 2, "No such file"),
        (["--steps", "0"], 2, "steps: should be greater than or equal to 1, not 0"),
        (["--steps", "few"], 2, "'few' is not a valid integer"),
        (["--set", "optimizer.lrr=1"], 2, "did you mean 'lr'"),
        (["--precision", "fp8"], 2, "'fp8' is not one of"),
        (["--precision", "fp16"], 2, "fp16 has no fast kernels on a CPU"),
        (["--batch-size", "5", "--accumulate", "2"], 2, "cannot be divided"),
        (["--labels", "21"], 2, "--labels 21"),
        (["--labels", "5000"], 2, "--labels 5000"),
        (["--set", "augment.pad=7"], 2, "augment.pad=7"),
        (["--set", "model.depth=27", "--set", "model.name=wide_resnet"], 2, "model.depth: should be 6n + 4"),
        (["--dataset", "cifar10", "--source", "nowhere"], 2, "nowhere"),
        (["--bogus"], 2, "No such option"),
        (["--data-dir", "nowhere"], 2, "smpl-data prepare digits --out nowhere"),
        (["--set", "method=3"], 2, "method: should be a name, not 3"),
        (["--set", "model.name=[1]"], 2, "model: should be a name, not [1]"),
        (["--set", "dataset=3"], 2, "dataset: should be a name"),
        (["--set", "sections=1"], 2, "sections: unknown key"),
        (["--set", "networks.model.lrr=1"], 2, "networks.model.lrr: unknown key; did you mean 'lr'"),
        (["--method", "mpl", "--steps", "20"], 2, "over before the student begins, at step 100"),
        (["--method", "uda", "--set", "mpl.weight=0.0"], 2, "mpl: method uda does not read it"),
    ],
)
def test_a_mistake_is_one_line_and_the_right_exit_code(arguments: list[str], code: int, message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_data_folder_of_another_set_or_other_labels_is_refused() -> None:
    run(*SHORT)
    for arguments, message in {
        ("--dataset", "svhn"): "add --dataset digits",
        ("--labels", "40"): "data.labels: 40 is requested, data/digits-20-seed0 has 20",
    }.items():
        result = run("--data-dir", "data/digits-20-seed0", "--out", "other", *arguments)
        assert result.exit_code == 2
        assert message in result.stderr


@pytest.mark.slow
def test_a_damaged_shard_stops_the_run_with_its_name_before_it_trains() -> None:
    run(*SHORT)
    shard = next(Path("data/digits-20-seed0").glob("unlabeled-*.tar"))
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    result = run(*SHORT, "--out", "other")
    assert result.exit_code == 3
    assert shard.name in result.stderr
    assert not Path("other/checkpoints").exists()


@pytest.mark.slow
def test_a_full_disk_while_saving_is_one_line_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run(*SHORT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in Path("runs/digits-smpl-seed0/checkpoints").iterdir()}
    monkeypatch.setattr("data_prep.system.atomic_files.fsync_folder", full)
    monkeypatch.setattr("data_prep.system.atomic_files.os.fsync", full)
    result = run(*SHORT, "--steps", "6")
    assert result.exit_code == 3
    assert "No space left" in result.stderr
    after = {path.name: path.read_bytes() for path in Path("runs/digits-smpl-seed0/checkpoints").iterdir()}
    assert before == after


def snapshot(folder: str) -> dict[str, tuple[int, bytes]]:
    """Return the modification times of all files and folders, and the contents of the files."""
    paths = [Path(folder), *Path(folder).rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths}


def table_of(result: Result) -> list[str]:
    lines = result.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("weights"))
    return [line for line in lines[start:] if not line.startswith("test accuracy")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "own"),
    [("smpl", "smpl.inner_lr=0.05"), ("roleplay", "roleplay.warmup=0")],
)
def test_testing_alone_prints_the_run_s_own_table_and_leaves_the_folder_as_it_is(method: str, own: str) -> None:
    settings = ["model.name=mlp", "model.hidden=[64]", "optimizer.warmup=0", own]
    trained = run(*SHORT, *(f"--set={setting}" for setting in settings), "--method", method, "--out", "run")
    assert trained.exit_code == 0, trained.output
    assert len({line.split()[-1] for line in table_of(trained)}) > 2  # else any other weights would score alike
    before = snapshot("run")
    tested = run("--test-only", "--out", "run")
    assert tested.exit_code == 0, tested.output
    assert "at step 4 of 4" in tested.stdout
    assert table_of(tested) == table_of(trained)
    assert snapshot("run") == before


@pytest.mark.slow
def test_testing_alone_takes_the_same_flags_or_the_run_s_own_recipe_and_data_that_moved() -> None:
    run(*SHORT)
    same = run(*SHORT, "--test-only")
    assert same.exit_code == 0, same.output
    DIGITS.rename("moved")
    moved = run("--test-only", "--out", "runs/digits-smpl-seed0", "--data-dir", "moved")
    assert moved.exit_code == 0, moved.output
    assert table_of(moved) == table_of(same)
    for path in Path("moved").glob("unlabeled-*"):
        path.unlink()
    assert run("--test-only", "--out", "runs/digits-smpl-seed0", "--data-dir", "moved").exit_code == 0


@pytest.mark.slow
def test_testing_alone_takes_the_checkpoint_before_a_damaged_one() -> None:
    run(*SHORT, "--set", "save_every=2", "--out", "run")
    newest = max(Path("run/checkpoints").glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:-1])
    result = run("--test-only", "--out", "run")
    assert result.exit_code == 0, result.output
    assert "damaged" in result.stderr
    assert "at step 2 of 4" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "nowhere"], "nowhere holds no run"),
        (["--out", "empty"], "empty holds no run"),
        (["--out", "begun"], "begun holds no checkpoint"),
        ([], "runs/digits-smpl-seed0 holds no checkpoint"),
        (["--out", "run", "--nproc", "2"], "leave --nproc 2 out"),
        (["--out", "run", "--seed", "3"], "seed 0 there, 3 here"),
        (["--out", "run", "--recipe", "digits-smpl"], "holds a run with another configuration"),
    ],
)
def test_what_cannot_be_tested_is_refused_in_one_line(arguments: list[str], message: str) -> None:
    run(*SHORT, "--out", "run")
    Path("empty").mkdir()
    Path("begun").mkdir()
    shutil.copy("run/config.yaml", "begun")
    result = run("--test-only", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_dry_run_says_what_would_run_and_writes_nothing() -> None:
    facts = facts_of(run(*SHORT, "--dry-run", "--out", "new"))
    assert facts["data"] == f"digits, which would be prepared in {Path('data').absolute()}/digits-20-seed0 first"
    assert facts["network"].startswith("small_conv (model)")
    assert facts["time"] == facts["memory"] == "unknown until training begins"
    assert not list(Path().iterdir())


@pytest.mark.slow
def test_a_dry_run_on_prepared_data_has_counts_sizes_and_times_and_says_where_the_run_is() -> None:
    prepare(PrepareRequest("digits"))
    facts = facts_of(run(*SHORT, "--steps", "1000", "--dry-run", "--method", "mpl", "--set", "model.width=4"))
    assert facts["data"].endswith("digits-20-seed0: 20 labeled, 1,297 unlabeled, 100 val, 400 test")
    module = build_module(read_config(None, {}, ("model.width=4",)), "model", Task.of(load_manifest(DIGITS)))
    size = sum(parameter.numel() for parameter in module.parameters())
    sizes = ", ".join(f"{name}: {size:,} parameters, {size:,} trained" for name in ("teacher", "student"))
    assert facts["network"] == f"small_conv ({sizes}), for images of 1x8x8"
    assert facts["steps"] == "1,000, each of 4 labeled and 8 unlabeled images, accumulate 1"
    assert facts["run"] == "runs/digits-mpl-seed0 would begin"
    assert re.fullmatch(r"about .+ for 1,000 steps, at .+", facts["time"].partition(";")[0])
    assert facts["memory"].endswith("in the steps that were timed")
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_dry_run_knows_a_run_that_is_finished_or_goes_on_and_refuses_what_training_refuses() -> None:
    run(*SHORT)
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
    assert facts_of(run(*SHORT, "--dry-run"))["run"].endswith("is finished; its results would be printed again")
    longer = facts_of(run(*SHORT, "--dry-run", "--steps", "1000"))
    assert longer["run"].endswith("would resume at step 4 of 1,000")
    assert " for 996 steps, " in longer["time"]
    refused = run(*SHORT, "--dry-run", "--set", "ema=0.5")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "another configuration" in refused.stderr
    long = facts_of(run("--dry-run", "--batch-size", "100000", "--out", "long"))
    assert long["time"] == "unknown until training begins", "steps that take long are not timed"
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")} == before
    assert not Path("long").exists()


def facts_of(result: Result) -> dict[str, str]:
    """Return what a dry run says, by the title of the line."""
    assert result.exit_code == 0, result.output
    lines = (line.partition(" ") for line in result.stdout.splitlines())
    return {title: fact.strip() for title, _, fact in lines}


def test_printing_the_model_shows_every_network_with_its_sizes_and_starts_no_run() -> None:
    result = run("--print-model", "--method", "mpl", "--set", "model.width=4", "--set", "networks.student.dropout=0.25")
    assert result.exit_code == 0, result.output
    module = build_module(read_config(None, {}, ("model.width=4",)), "model", Task.of(load_manifest(DIGITS)))
    size = sum(parameter.numel() for parameter in module.parameters())
    for name in ("teacher", "student"):
        assert f"{name}: {size:,} parameters, {size:,} trainable; input [B, 1, 8, 8]" in result.stdout
    assert "Dropout(p=0.25" in result.stdout.partition("student:")[2]
    assert "Dropout(p=0.25" not in result.stdout.partition("student:")[0]
    assert "SmallConv" in result.stdout
    assert not Path("runs").exists()


def test_printing_the_model_counts_what_is_frozen() -> None:
    settings = ("model.name=torchvision", "model.architecture=shufflenet_v2_x0_5", "model.freeze=backbone")
    result = run("--print-model", *(f"--set={setting}" for setting in settings))
    assert result.exit_code == 0, result.output
    assert ", 10,250 trainable" in result.stdout  # the classifier: 1,024 features to 10 classes


def test_the_table_names_ensembles_and_keeps_its_columns_whatever_the_names() -> None:
    scores = {"val": {"accuracy": 50.0}, "test": {"accuracy": 100.0}}
    long = "a network of a very long name"
    names = ["last, averaged", "last, raw", "last, averaged, first", f"last, averaged, {long}", "last, raw, first"]
    lines = results_table(dict.fromkeys(names, scores), "plain").splitlines()
    titles = ["last, averaged, ensemble", *names[2:4], "last, raw, ensemble", names[4]]
    assert [line[:-18].rstrip() for line in lines] == ["weights", *titles]
    assert {len(line) for line in lines} == {len(lines[0])}
    *same, last = results_table(dict.fromkeys(names, scores), "mirror").splitlines()
    assert same == lines
    assert last == "each image is scored by its mean over mirror views"


@pytest.mark.slow
def test_a_run_of_automatic_precision_goes_on_in_the_precision_it_had() -> None:
    assert run(*SHORT, "--out", "run", "--precision", "auto").exit_code == 0
    assert load_recipe("run/config.yaml")["precision"] == "auto", "the run folder keeps what was configured"
    had = json.loads(Path("run/summary.json").read_text())["precision"]
    other = {"fp32": "bf16", "bf16": "fp32"}[had]
    refused = run(*SHORT, "--out", "run", "--steps", "9", "--precision", other)
    assert refused.exit_code == 2
    assert f"add --precision {had}" in refused.stderr
    assert run(*SHORT, "--out", "run", "--steps", "9", "--precision", had).exit_code == 0


@pytest.mark.slow
def test_a_run_whose_file_of_weights_is_gone_goes_on_and_is_tested() -> None:
    torch.save(torchvision.models.shufflenet_v2_x0_5().state_dict(), "weights.pt")
    backbone = {
        "name": "torchvision",
        "architecture": "shufflenet_v2_x0_5",
        "weights": "weights.pt",
        "freeze": "backbone",
    }
    Path("mine.yaml").write_text(json.dumps({"dataset": "digits", "method": "supervised", "model": backbone}))
    arguments = ["--recipe", "mine.yaml", *SHORT, "--set", "augment.pad=2", "--set", "augment.cutout=4"]
    assert run(*arguments, "--out", "run").exit_code == 0
    Path("weights.pt").unlink()
    assert run(*arguments, "--out", "run", "--steps", "5").exit_code == 0
    assert run("--test-only", "--out", "run").exit_code == 0
    restarted = run(*arguments, "--out", "another")
    assert restarted.exit_code in {2, 3}
    assert "weights.pt" in restarted.stderr
