"""A run within a wall-clock budget: the arithmetic, what scales with the steps, and what stays as it was."""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from data_prep.dataset.manifest import load_manifest
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import UsageError
from pipeline.config.command_line import read_config
from pipeline.config.finetune import finetune_recipe
from pipeline.config.recipes import load_recipe
from pipeline.config.resolve import flatten, resolve
from pipeline.config.schema import Config
from pipeline.data.loader_choice import LoaderChoice
from pipeline.data.prepared_set import PreparedSet
from pipeline.run_folder import CONFIG, RunFolder
from pipeline.train import main
from pipeline.training.time_budget import MARGIN, MIN_STEPS, Budget, Timings, read_budget
from pipeline.training.timing_probe import measure_timings
from pipeline.training.trainer import Trainer
from tests.pipeline.conftest import ALONE, assert_same, make_data, weights_of

TIMINGS = Timings(start=3.0, step=0.1003, evaluation=2.0, save=0.5, scoring=4.0)
RECIPE = {"steps": 600, "eval_every": 100, "save_every": 50}
SMALL = ["--batch-size", "4", "--mu", "2", "--set", "model.width=4", "--set", "model.dropout=0.3", "--nproc", "1"]
SMALL += ["--set", "log_every=1", "--out", "run"]
BUDGETED = [*SMALL, "--budget-minutes", "5"]
STEPS = 30
MINUTES, TICK_S = 0.1, 0.02
"""A budget, and what the test's clock advances by whenever it is read: a step reads it a few times."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMPL_DATA", str(tmp_path / "data"))


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the probe find that five minutes are just 30 steps; the returned list has an entry for each probe."""
    timings, seen = Timings(start=0, step=MARGIN * 300 / (STEPS + 0.5), evaluation=0, save=0, scoring=0), []

    def found(*_: object) -> Timings:
        seen.append(1.0)
        return timings

    monkeypatch.setattr("pipeline.training.session.measure_timings", found)
    return seen


def fitted(minutes: float, gone: float = 5.0, **changes: Any) -> Budget:
    return Budget.fit(resolve(RECIPE | {"budget_minutes": minutes} | changes, {}), TIMINGS, gone)


@pytest.mark.parametrize("recipe", [{}, {"eval_every": 1, "save_every": 600}, {"steps": 100000}, {"eval_every": 1000}])
def test_more_minutes_are_never_fewer_steps_and_what_they_take_is_within_the_budget(recipe: dict[str, int]) -> None:
    budgets = [fitted(quarters / 4, **recipe) for quarters in range(4, 200)]
    assert sorted(budget.steps for budget in budgets) == [budget.steps for budget in budgets]
    assert budgets[0].steps < budgets[-1].steps
    for budget in budgets:
        config = resolve(RECIPE | recipe | {"budget_minutes": budget.minutes}, {})
        own = budget.apply(config, Path("run"))
        due = [sum(step % every == 0 for step in range(1, own.steps)) for every in (own.eval_every, own.save_every)]
        spent = 5.0 + TIMINGS.start + own.steps * TIMINGS.step + TIMINGS.scoring
        spent += (1 + due[0]) * TIMINGS.evaluation + (2 + due[1]) * TIMINGS.save
        assert spent < 60 * budget.minutes
        longer = 5.0 + TIMINGS.run_seconds(own.steps + 1, config) / MARGIN
        assert longer > 60 * budget.minutes, "one more step would be too many"


def test_a_budget_that_is_too_small_is_refused_with_one_that_is_enough() -> None:
    with pytest.raises(UsageError, match=r"budget_minutes: 0\.2 are too few: 0 steps.*try --budget-minutes") as caught:
        fitted(0.2)
    enough = float(str(caught.value).rpartition(" ")[2])
    assert fitted(enough).steps >= MIN_STEPS
    with pytest.raises(UsageError):
        fitted(enough - 0.1)


LENGTHS: Mapping[str, Mapping[str, tuple[Any, Any]]] = {
    "mpl": {"mpl.student_wait": (599, 59), "ramp": (200, 20)},
    "roleplay": {"roleplay.period": (33, 4), "roleplay.warmup": (105, 10), "mpl.student_wait": (7, 1)},
    "pseudo_label": {"ramp": (0, 0)},
    "metasemi": {"ramp": (1200, 120)},
    "smpl": {"optimizer.warmup": (50, 5), "optimizer.milestones": ([300, 451], [30, 45]), "ramp": (9, 1)},
}


@pytest.mark.parametrize("method", LENGTHS)
def test_all_that_counts_steps_keeps_its_share_and_nothing_else_changes(method: str) -> None:
    nominal: dict[str, Any] = {"budget_minutes": 5, "log_every": 7, "eval_every": 101, "save_every": 600}
    nominal |= {key: before for key, (before, _) in LENGTHS[method].items()}
    config = read_config(None, {"method": method}, tuple(f"{key}={value}" for key, value in nominal.items()))
    budget = Budget(minutes=5.0, nominal_steps=600, steps=60, seconds_before=1.0, seconds=TIMINGS)
    fitted_config = budget.apply(config, Path("run"))
    before, after = flatten(config.tree()), flatten(fitted_config.tree())
    expected = {key: value for key, (_, value) in LENGTHS[method].items()} | {"eval_every": 11, "save_every": 60}
    assert {key: after[key] for key in expected} == expected
    others = {key for key in before if before[key] != after[key]} - expected.keys()
    assert others <= {"steps", "optimizer.warmup", "ramp"}
    assert (fitted_config.steps, fitted_config.log_every, fitted_config.ema) == (60, 7, config.ema)
    assert budget.apply(fitted_config, Path("run")) == fitted_config, "fitting twice changes nothing"
    assert resolve(fitted_config.tree(), {}) == fitted_config


def test_steps_of_the_command_line_replace_a_recipe_s_budget_and_fine_tuning_has_none(tmp_path: Path) -> None:
    assert read_config("cifar10-4k-fast", {}).budget_minutes == 23
    assert read_config("cifar10-4k-fast", {"steps": 7}).budget_minutes is None
    assert read_config("cifar10-4k-fast", {"budget_minutes": 2.5}).budget_minutes == 2.5
    (tmp_path / CONFIG).write_text(json.dumps(read_config("cifar10-4k-fast", {}).tree()))
    assert finetune_recipe(tmp_path)["budget_minutes"] is None


@pytest.mark.slow
def test_the_probe_times_every_part_and_leaves_nothing_behind(
    make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    undisturbed = make_trainer(out="undisturbed")
    undisturbed.train()
    prepare(PrepareRequest("digits", out=tmp_path / "data"))
    prepared = PreparedSet(
        tmp_path / "data", load_manifest(tmp_path / "data"), ALONE, LoaderChoice("resident", ""), None
    )
    config: Config = undisturbed.config.model_copy(update={"budget_minutes": 0.01})
    (tmp_path / "run").mkdir()
    timings = measure_timings(config, prepared, make_data(), ALONE, tmp_path / "run")
    assert all(value > 0 for name, value in timings.model_dump().items() if name != "start")
    assert list((tmp_path / "run").iterdir()) == []
    after = make_trainer()
    after.train()
    assert_same(weights_of(undisturbed), weights_of(after))


@pytest.mark.slow
@pytest.mark.usefixtures("_home")
def test_a_run_with_a_budget_takes_the_steps_that_were_fitted_and_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = count()
    monkeypatch.setattr(time, "perf_counter", lambda: TICK_S * next(readings))
    result = run(*SMALL, "--budget-minutes", str(MINUTES))
    assert result.exit_code == 0, result.output
    budget, summary = read_budget(Path("run")), json.loads(Path("run/summary.json").read_text())
    assert budget is not None
    assert summary["steps"] == budget.steps == load_recipe("run/config.yaml")["steps"] >= MIN_STEPS
    assert MINUTES / 2 < summary["minutes_of_last_session"] <= MINUTES
    assert not Path("run/timing-probe").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("_home")
def test_a_run_that_was_stopped_keeps_its_steps_and_is_the_run_of_so_many_steps(
    monkeypatch: pytest.MonkeyPatch, canned: list[float]
) -> None:
    report = Trainer.report

    def stop(trainer: Trainer, *others: Any) -> None:
        report(trainer, *others)
        if trainer.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "report", stop)
        stopped = run(*BUDGETED)
    assert stopped.exit_code == 4, stopped.output
    for _ in range(2):
        resumed = run(*BUDGETED)
        assert resumed.exit_code == 0, resumed.output
    assert len(canned) == 1
    assert json.loads(Path("run/summary.json").read_text())["steps"] == STEPS
    config = load_recipe("run/config.yaml")
    assert (config["steps"], config["optimizer"]["warmup"], config["ramp"]) == (STEPS, 2, 10)
    again = run("--recipe", "run/config.yaml", "--steps", str(STEPS), "--out", "again", "--nproc", "1")
    assert again.exit_code == 0, again.output
    assert_same(load_file("run/model.safetensors"), load_file("again/model.safetensors"))
    scored = run(*BUDGETED, "--test-only")
    assert scored.exit_code == 0, scored.output


@pytest.mark.slow
@pytest.mark.usefixtures("_home")
def test_a_budget_noted_an_instant_before_the_configuration_holds(
    monkeypatch: pytest.MonkeyPatch, canned: list[float]
) -> None:
    save = RunFolder.save_config

    def die(folder: RunFolder, tree: Mapping[str, Any]) -> None:
        if folder.budget_file.exists():
            raise KeyboardInterrupt
        save(folder, tree)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_config", die)
        assert run(*BUDGETED).exit_code == 4
    assert load_recipe("run/config.yaml")["steps"] == 600
    assert run(*BUDGETED).exit_code == 0
    assert load_recipe("run/config.yaml")["steps"] == STEPS
    assert len(canned) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("_home", "canned")
def test_what_contradicts_a_budget_is_refused_in_one_line() -> None:
    assert run(*SMALL, "--budget-minutes", "0.1").exit_code == 2
    assert run(*BUDGETED).exit_code == 0, "one that was too small holds nobody up"
    assert run(*SMALL, "--steps", "10", "--out", "plain").exit_code == 0
    for arguments, code, message in [
        (["--steps", "10", "--budget-minutes", "5"], 2, "--steps and --budget-minutes"),
        (["--set", "steps=10", "--budget-minutes", "5"], 2, "--steps and --budget-minutes"),
        (["--budget-minutes", "0"], 2, "budget_minutes: should be greater than 0"),
        (["--budget-minutes", "6"], 2, "budget_minutes: run was fitted for 5.0, not for 6.0; give another --out"),
        (["--steps", "30"], 2, "budget_minutes 5.0 there, None here"),
        (["--budget-minutes", "5", "--out", "plain"], 2, "plain began without a budget; give another --out"),
        (["--budget-minutes", "0.1", "--out", "new"], 2, "budget_minutes: 0.1 are too few: 0 steps"),
    ]:
        result = run(*SMALL, *arguments, "-q")
        assert result.exit_code == code, result.output
        assert [message in line for line in result.stderr.splitlines() if line.startswith("error: ")] == [True]
    RunFolder(Path("run")).budget_file.write_text("{}")
    result = run(*BUDGETED)
    assert result.exit_code == 3
    assert "budget.json: unreadable or damaged" in result.stderr
