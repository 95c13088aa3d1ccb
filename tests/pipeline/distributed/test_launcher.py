"""Two real processes that are stopped or killed: the resumed run gives the same weights as an undisturbed one."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch.distributed import DistStoreError
from torch.distributed.run import config_from_args

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from pipeline.distributed import launcher
from pipeline.distributed.launcher import EXIT_CODE_FILE, LOST_PEER, root_cause
from pipeline.distributed.world import is_lost_peer
from pipeline.run_folder import RunFolder
from pipeline.train import main
from pipeline.training import rank, train_command
from pipeline.training.train_command import default_run
from tests.limits import LIMIT_S, wait_for
from tests.pipeline.conftest import make_config
from tests.pipeline.processes import assert_same_model, environment, rank_process, run, started, steps_logged

STEPS = 160
ARGUMENTS = ["--steps", str(STEPS), "--batch-size", "8", "--mu", "3", "--set", "log_every=1"]
ARGUMENTS += ["--set", "save_every=10", "--set", "model.width=8", "--set", "model.dropout=0.2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def command(out: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.train", "--nproc", "2", "--out", out, *ARGUMENTS]


def finish(home: Path, out: str) -> subprocess.CompletedProcess[str]:
    return run(home, command(out))


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> dict[str, torch.Tensor]:
    done = finish(home, "undisturbed")
    assert done.returncode == 0, done.stderr
    return load_file(home / "undisturbed" / "model.safetensors")


def test_the_first_cause_explains_the_other_exit_codes() -> None:
    causes = {(1, -9): -9, (-15, -9): -9, (3, -15): 3, (-15, 3): 3, (2, 1): 2, (-15,): -15}
    causes |= {(LOST_PEER, -9): -9, (LOST_PEER, 2): 2, (LOST_PEER, -15): LOST_PEER}
    for codes, cause in causes.items():
        assert root_cause(list(codes)) == cause


GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:34740: Connection reset"


def test_a_rank_can_lose_a_peer_only_in_a_run_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [RuntimeError(GLOO), RuntimeError(f"Gloo connectFullMesh failed with {GLOO}"), DistStoreError("timeout")]
    own = [RuntimeError(text) for text in ("cannot read /home/gloomy/run [1]", "[gloo] is a bad name")]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [is_lost_peer(error) for error in lost + own] == [True] * 3 + [False] * 2
    monkeypatch.delenv("WORLD_SIZE")
    assert not any(is_lost_peer(error) for error in lost + own)


@pytest.mark.parametrize(("ours", "code"), [(True, LOST_PEER), (False, 1)])
def test_a_lost_peer_has_an_exit_code_of_its_own_under_our_launcher_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ours: bool, code: int
) -> None:
    def join() -> None:
        raise RuntimeError(GLOO)

    for name, value in {"RANK": "1", "WORLD_SIZE": "2", EXIT_CODE_FILE: str(tmp_path / "code")}.items():
        monkeypatch.setenv(name, value)
    if not ours:
        monkeypatch.delenv(EXIT_CODE_FILE)
    monkeypatch.setattr(rank, "join_world", join)
    monkeypatch.setattr(rank, "exit_at_once", sys.exit)
    with pytest.raises(SystemExit) as caught:
        rank.run_rank(make_config(), tmp_path, RunFolder(tmp_path))
    assert caught.value.code == code


def test_torchrun_reads_no_empty_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = dict.fromkeys(["PET_NNODES", "PET_NODE_RANK", "PET_MASTER_PORT", "PET_NPROC_PER_NODE"], "")
    monkeypatch.setattr(os, "environ", os.environ | variables)
    started = []
    monkeypatch.setattr(launcher, "run_agent", lambda agent: started.append(config_from_args(agent)[0]))
    assert launcher.launch("module", [], 2) == 0
    assert [(config.max_nodes, config.nproc_per_node) for config in started] == [(1, 2)]


def test_torchruns_modules_log_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    agent = logging.getLogger("torch.distributed.elastic.agent.server.api")
    agent.setLevel(logging.WARNING)
    monkeypatch.setattr(launcher, "run_agent", lambda _: None)
    assert launcher.launch("module", [], 2) == 0
    assert not agent.isEnabledFor(logging.ERROR)


def test_the_names_of_the_folders_may_begin_with_a_dash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def launch(_: str, arguments: list[str], *__: object) -> int:
        parsed = rank.main.make_context("rank", arguments).params
        assert [parsed["data"], parsed["run"]] == [Path("-data"), Path("-run")]
        return 0

    monkeypatch.chdir(tmp_path)
    prepare(PrepareRequest("digits", out=Path("-data")))
    monkeypatch.setattr(train_command, "choose_processes", lambda *_: 2)
    monkeypatch.setattr(train_command, "launch", launch)
    result = CliRunner().invoke(main, ["--data-dir", "-data", "--out", "-run", "--batch-size", "8"])
    assert result.exit_code == 0, result.output


def test_fp16_on_a_cpu_is_reported_by_the_first_rank_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(train_command, "this_device", lambda: torch.device("cpu"))
    errors = []
    for number in ("0", "1"):
        variables = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": "2"}
        words = ["--precision", "fp16", "--out", str(tmp_path / "run")]
        result = CliRunner().invoke(main, words, env=variables)
        assert result.exit_code == 2
        errors.append(result.stderr)
    assert errors[0].startswith("error: precision: fp16")
    assert errors[1] == ""


def test_runs_are_in_the_folder_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMPL_RUNS", raising=False)
    assert default_run(make_config()) == Path("runs/digits-smpl-seed0")
    monkeypatch.setenv("SMPL_RUNS", "/out")
    assert default_run(make_config()) == Path("/out/digits-smpl-seed0")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_exits_with_4_and_goes_on(
    home: Path, undisturbed: dict[str, torch.Tensor], number: signal.Signals
) -> None:
    out = number.name
    with started(home, command(out)) as process:
        wait_for(lambda: steps_logged(home, out) > 13, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 4, errors
    assert "stopped and saved" in errors
    assert errors.count(f"{number.name}: stopping after this step, then saving; press Ctrl-C again") == 1
    assert "death signal" not in errors
    assert "Traceback" not in errors
    assert not (home / out / "summary.json").exists()
    done = finish(home, out)
    assert done.returncode == 0, done.stderr
    assert "resuming at step" in done.stderr
    assert_same_model(home, out, undisturbed)


@pytest.mark.slow
def test_ctrl_c_is_answered_while_a_step_hangs_and_again_it_ends_all_ranks_without_saving(home: Path) -> None:
    """A rank that the system has stopped holds up the step of both."""
    with (home / "errors").open("w+") as errors:
        settings = {"cwd": home, "env": environment(home), "stderr": errors, "stdout": errors}
        process = subprocess.Popen([*command("hurried"), "--set", "save_every=1000"], **settings)
        try:
            wait_for(lambda: steps_logged(home, "hurried") > 3, process)
            ranks = [rank_process(process.pid, rank) for rank in (0, 1)]
            os.kill(ranks[1], signal.SIGSTOP)
            process.send_signal(signal.SIGINT)
            wait_for(lambda: "press Ctrl-C again" in (home / "errors").read_text(), process)
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT_S) == 4
        finally:
            process.kill()
    assert "error: stopped by SIGINT before it could save" in (home / "errors").read_text()
    assert "Traceback" not in (home / "errors").read_text()
    assert not [rank for rank in ranks if psutil.pid_exists(rank) and psutil.Process(rank).status() != "zombie"]
    assert RunFolder(home / "hurried").checkpoints.steps() == []


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_replaced_and_the_result_is_the_same_to_the_bit(
    home: Path, undisturbed: dict[str, torch.Tensor], rank: int
) -> None:
    out = f"killed-{rank}"
    with started(home, command(out)) as process:
        wait_for(lambda: steps_logged(home, out) > 13, process)
        os.kill(rank_process(process.pid, rank), signal.SIGKILL)
        _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors
    assert "killed by signal 9; going on from the last checkpoint" in errors
    assert_same_model(home, out, undisturbed)


@pytest.mark.slow
def test_torchrun_itself_runs_the_same_training(home: Path, undisturbed: dict[str, torch.Tensor]) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    module = ["-m", "pipeline.train", "--out", "torchrun", *ARGUMENTS]
    done = run(home, [*torchrun, *module])
    assert done.returncode == 0, done.stderr
    assert_same_model(home, "torchrun", undisturbed)


@pytest.mark.slow
def test_damaged_data_is_exit_code_3_through_the_launcher(home: Path, undisturbed: dict[str, torch.Tensor]) -> None:
    shard = next((home / "data" / "digits-20-seed0").glob("val-*.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:600] + bytes([whole[600] ^ 1]) + whole[601:])
    done = finish(home, "damaged")
    shard.write_bytes(whole)
    assert done.returncode == 3, done.stderr
    assert shard.name in done.stderr
    assert "Traceback" not in done.stderr
