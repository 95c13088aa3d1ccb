import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import psutil
import pytest
from click.testing import CliRunner, Result

from data_prep.system.atomic_files import locked
from pipeline.cli import main
from pipeline.comparison.runner import _train_in_process
from pipeline.comparison.runs import SharedOptions, plan_runs
from pipeline.comparison.table import table_lines
from pipeline.comparison.variants import MethodVariant, read_variants
from pipeline.config.command_line import read_config
from pipeline.config.recipes import read_about
from pipeline.config.schema import Config
from tests import ROOT
from tests.data_prep.trees import names_of, write
from tests.limits import LIMIT_S, wait_for

TINY = ["--steps", "2", "--seeds", "2", "--set", "batch_size=4", "--set", "mu=1", "--set", "model.width=4"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMPL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)


def compare(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["compare", "--out", "table", *TINY, *arguments])


@pytest.mark.slow
def test_a_row_for_each_method_and_for_it_without_its_meta_term_then_resumes_and_reports_failures() -> None:
    result = compare("--methods", "supervised,smpl", "--ablate-meta")
    assert result.exit_code == 0, result.output
    with Path("table/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["seed"]) for row in rows] == [
        (method, seed) for method in ("supervised", "smpl", "smpl smpl.weight=0") for seed in ("0", "1")
    ]
    scores = {(row["method"], row["seed"]): float(row["test_accuracy"]) for row in rows}
    first, second = (scores["smpl", seed] - scores["smpl smpl.weight=0", seed] for seed in ("0", "1"))
    table = Path("table/results.md").read_text()
    assert f"| {(first + second) / 2:+.2f} ± {abs(first - second) / 2:.2f} | 2 |" in table, "mean and its error"
    assert "| smpl smpl.weight=0 |" not in table, "a row of its own would say it twice"
    assert Path("table/results.png").stat().st_size > 1000
    assert {path.name for path in Path("data").iterdir()} == {"digits-20-seed0", "digits-20-seed1"}

    first = Path("table/smpl/seed0/summary.json")
    before = first.stat().st_mtime_ns
    result = compare("--methods", "smpl,uda:optimizer.lr=1e38")
    assert first.stat().st_mtime_ns == before
    assert result.exit_code == 1
    assert "failed: uda optimizer.lr=1e38, seed 0" in result.stderr
    assert "not finite" in Path("table/uda optimizer.lr=1e38/seed0/log.txt").read_text()
    assert "| smpl |" in result.stdout

    result = compare("--methods", "supervised", "--set", "optimizer.lr=0.5")
    assert result.exit_code == 1
    assert "supervised" not in result.stdout  # the runs at hand are of another rate: not reported under this one
    assert "another configuration" in Path("table/supervised/seed0/log.txt").read_text()


@pytest.mark.slow
def test_a_folder_of_images_is_compared_with_other_labels_for_each_seed() -> None:
    write(Path("photos"), names_of("cat", "dog", count=20))
    model = "{name: small_conv, width: 2}"
    words = ["--dataset", "folder", "--source", "photos", "--methods", "supervised", "--set", f"model={model}"]
    words += [
        "--steps",
        "1",
        "--seeds",
        "2",
        "--set",
        "batch_size=2",
        "--set",
        "augment.size=16",
        "--set",
        "augment.cutout=4",
    ]
    result = CliRunner().invoke(main, ["compare", "--out", "table", *words])
    assert result.exit_code == 0, result.output + read(Path("table/supervised/seed0/log.txt"))
    assert {path.name for path in Path("data").iterdir()} == {"photos-10pct-seed0", "photos-10pct-seed1"}


@pytest.mark.slow
def test_settings_can_be_chosen_on_validation_images_and_seeds_of_their_own() -> None:
    result = compare("--methods", "supervised", "--split", "val", "--first-seed", "7")
    assert result.exit_code == 0, result.output
    with Path("table/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["7", "8"]
    for row in rows:
        summary = json.loads(Path(f"table/supervised/seed{row['seed']}/summary.json").read_text())
        assert float(row["val_accuracy"]) == pytest.approx(summary["results"]["last, averaged"]["val"]["accuracy"])
    assert "test" not in result.stdout
    assert {path.name for path in Path("data").iterdir()} == {"digits-20-seed7", "digits-20-seed8"}


def test_a_set_without_validation_images_cannot_choose_by_them() -> None:
    words = ["compare", "--recipe", "moons", "--methods", "supervised", "--split", "val", "--out", "table"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "--split val: data.val is 0" in result.stderr
    assert not Path("table").exists()


def rows_of(methods: str, *, ablate_meta: bool = False, settings: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the rows, with the settings that all runs share."""

    def resolved(variant: MethodVariant) -> Config:
        return read_config(None, {"method": variant.method}, (*settings, *variant.settings))

    return [variant.name for variant in read_variants(methods, ablate_meta, resolved)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("supervised,mlp", "did you mean 'mpl'"),
        ("uda,uda", "twice"),
        ("uda:../x=1", "unknown key"),
        ("uda:uda.wait=3", "unknown key; did you mean 'weight'"),
        ("supervised:uda.weight=3", "method supervised does not read it"),
        ("mpl:mpl.weight=0,mpl:mpl.weight=0.0", "'mpl mpl.weight=0' and 'mpl mpl.weight=0.0' are the same run"),
        ("mpl,mpl:mpl.mode=exact", "are the same run"),
        ("supervised:method=mpl", "'supervised:method=mpl': method is set by --methods here"),
        ("supervised:dataset=moons", "dataset is set by --dataset"),
        ("supervised:steps=9", "steps is set by --steps"),
        ("supervised:seed=3", "seed is set by --seeds"),
        ("supervised:data.seed=3", "data.seed is set by --seeds"),
        ("supervised:data={seed: 3}", "data.seed is set by --seeds"),
        ("uda:augment=[8", "not a value"),
    ],
)
def test_a_wrong_row_is_refused_before_anything_runs(rows: str, message: str) -> None:
    result = compare("--methods", rows)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not Path("table").exists()


@pytest.mark.parametrize("setting", ["method=mpl", "dataset=moons", "steps=9", "seed=3", "data.seed=3"])
def test_set_cannot_change_what_a_flag_sets_for_all_runs(setting: str) -> None:
    result = compare("--methods", "supervised", "--set", setting)
    assert result.exit_code == 2
    assert f"--set: {setting.partition('=')[0]} is set by --" in result.stderr
    assert not Path("table").exists()


def test_no_run_is_counted_twice_where_the_meta_term_is_off_already() -> None:
    assert rows_of("mpl,mpl:mpl.weight=0", ablate_meta=True) == ["mpl", "mpl mpl.weight=0"]
    assert rows_of("mpl:mpl.weight=0.0,mpl", ablate_meta=True) == ["mpl mpl.weight=0.0", "mpl"]
    assert rows_of("mpl", ablate_meta=True, settings=("mpl.weight=0",)) == ["mpl"]
    assert rows_of("mpl,mpl:mpl.weight=3", ablate_meta=True) == ["mpl", "mpl mpl.weight=0", "mpl mpl.weight=3"]
    assert rows_of("mpl,uda", ablate_meta=True) == ["mpl", "mpl mpl.weight=0", "uda"]


def test_a_single_seed_has_no_error_and_a_pair_that_is_missing_is_said() -> None:
    rows = {"mpl": {0: 90.0, 1: 92.0, 2: 91.0}, "off": {0: 89.0, 1: 90.0}, "smpl": {0: 80.0}, "smpl off": {0: 81.5}}
    lines = list(table_lines({**rows, "alone": {1: 50.0}}, "test", {"mpl": "off", "smpl": "smpl off", "gone": "alone"}))
    assert lines[2:] == [
        "| mpl | 91.00 ± 1.00 | 89.50 ± 0.71 | +1.50 ± 0.50 (2 seeds) | 3 |",
        "| smpl | 80.00 | 81.50 | -1.50 | 1 |",
        "| alone | 50.00 |  |  | 1 |",
    ]


def test_variants_that_differ_in_the_meta_term_alone_share_one_run_without_it() -> None:
    rows = "mpl,mpl:mpl.scale=sum:mpl.weight=0.1,mpl:mpl.label_mode=argmax:mpl.feedback_step=descent"
    variants = read_variants(rows, True, lambda variant: read_config(None, {"method": "mpl"}, variant.settings))
    off, other = "mpl mpl.weight=0", "mpl mpl.label_mode=argmax mpl.weight=0"
    assert [variant.ablation for variant in variants] == [off, None, off, other, None]
    assert [variant.name for variant in variants if variant.ablation is None] == [off, other]


@pytest.mark.slow
def test_a_row_with_a_slash_has_a_folder_of_its_own_and_its_name_in_the_table() -> None:
    result = compare("--methods", "supervised,supervised:start=some/100%25/../run", "--seeds", "1")
    folders = {unquote(path.name): path for path in Path("table").iterdir() if path.is_dir()}
    assert sorted(folders) == ["supervised", "supervised start=some/100%25/../run"]
    assert "there is no run folder some/100%25/../run" in read(
        folders["supervised start=some/100%25/../run"] / "seed0/log.txt"
    )
    assert "failed: supervised start=some/100%25/../run, seed 0" in result.stderr


@pytest.mark.slow
def test_a_run_waits_for_another_process_that_works_in_its_folder() -> None:
    """As runs of a comparison that was killed are, until they have saved."""
    folder = Path("table/supervised/seed0").absolute()
    folder.mkdir(parents=True)
    free, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(folder / ".lock"):
            free.set()
            wait_for(lambda: ended.is_set() or "waiting" in read(folder / "log.txt"))

    holder = threading.Thread(target=hold)
    holder.start()
    free.wait()
    result = compare("--methods", "supervised", "--seeds", "1")
    ended.set()
    holder.join()
    assert result.exit_code == 0, read(folder / "log.txt")


@pytest.mark.slow
def test_runs_save_and_end_with_a_comparison_that_is_killed_and_the_same_command_ends_the_table() -> None:
    run = Path("killed/supervised/seed0")
    command = [sys.executable, "-m", "pipeline.cli", "compare", "--out", "killed", "--methods", "supervised", *TINY]
    command += ["--steps", "400", "--seeds", "1", "--jobs", "2", "--set", "log_every=1"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as comparison:
        wait_for(lambda: read(run / "metrics.jsonl"), comparison)
        comparison.kill()
    wait_for(lambda: not session(comparison.pid))
    assert "stopped and saved" in read(run / "log.txt")
    assert not (run / "summary.json").exists()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert "| supervised |" in read(Path("killed/results.md"))
    assert "resuming at step" in read(run / "log.txt")


@pytest.mark.slow
def test_ctrl_c_in_a_comparison_is_answered_at_once_and_again_it_ends_the_runs_without_saving() -> None:
    """The run is stopped by the system, so that it cannot end by itself between the two."""
    run, errors = Path("hurried/supervised/seed0"), Path("errors")
    command = [sys.executable, "-m", "pipeline.cli", "compare", "--out", "hurried", "--methods", "supervised", *TINY]
    command += ["--steps", "4000", "--seeds", "1", "--set", "log_every=1", "--set", "save_every=9999"]
    with errors.open("w") as file, subprocess.Popen(command, start_new_session=True, stderr=file) as comparison:
        try:
            wait_for(lambda: read(run / "metrics.jsonl"), comparison)
            mine = psutil.Process(comparison.pid).children(recursive=True)
            (trained,) = [process for process in mine if process.ppid() != comparison.pid]
            trained.suspend()
            os.killpg(comparison.pid, signal.SIGINT)  # as a terminal sends it, to all processes in the foreground
            wait_for(lambda: "press Ctrl-C again to stop without saving" in read(errors), comparison)
            os.killpg(comparison.pid, signal.SIGINT)
            assert comparison.wait(LIMIT_S) == 4
        finally:
            comparison.kill()
    wait_for(lambda: not trained.is_running() or trained.status() == psutil.STATUS_ZOMBIE)
    assert read(errors).count("then saving") == 1
    assert "stopped and saved" not in read(run / "log.txt")
    assert not list((run / "checkpoints").glob("*.pt"))


@pytest.mark.slow
def test_a_run_whose_process_starts_while_the_comparison_ends_does_not_train_to_its_end() -> None:
    ending = threading.Event()
    ending.set()
    shared = SharedOptions("digits", 4000, None, ())
    (run,) = plan_runs(read_variants("supervised", False, shared.config), [0], Path("late").absolute())
    assert _train_in_process(run, shared.arguments(), 1, set(), ending) != 0
    assert run.accuracy() is None


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def session(leader: int) -> list[str]:
    """Return the names of the living processes that a session leader left."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            name, _, rest = path.read_text().rpartition(")")
            state, _, _, its_session = rest.split()[:4]
            if int(its_session) == leader and state != "Z":
                found.append(name)
    return found


def test_the_recipes_of_the_tables_in_the_readme_say_what_was_measured() -> None:
    results = ROOT / "benchmarks/results"
    for recipe, table in {"digits-smpl": "digits-20.csv", "moons": "moons.csv"}.items():
        with (results / table).open() as file:
            scores = [float(row["test_accuracy"]) for row in csv.DictReader(file) if row["method"] == "smpl"]
        measured = read_about(recipe).measured
        assert measured
        assert measured.seeds == len(scores)
        assert measured.accuracy == pytest.approx(statistics.mean(scores), abs=0.0051)
        assert measured.spread == pytest.approx(statistics.stdev(scores), abs=0.0051)


def test_a_budget_is_refused_since_runs_would_differ_in_length(tmp_path: Path) -> None:
    words = ["compare", "--dataset", "digits", "--methods", "uda", "--seeds", "1", "--out", str(tmp_path / "table")]
    result = CliRunner().invoke(main, [*words, "--set", "budget_minutes=1.0"])
    assert result.exit_code == 2
    assert "budget_minutes: runs of a comparison need the same length" in result.stderr
    assert not (tmp_path / "table").exists()
