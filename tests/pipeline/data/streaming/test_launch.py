"""From a folder of images to a trained model in one command on two processes; killing one changes no bit."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data_prep.dataset.manifest import load_manifest
from data_prep.prepare.convert import convert
from tests.limits import LIMIT_S, wait_for
from tests.pipeline.processes import assert_same_model, rank_process, run, started, steps_logged
from tests.pipeline.streams import encode, smooth

pytestmark = pytest.mark.slow

STEPS = 30
ARGUMENTS = ["--dataset", "folder", "--source", "images", "--method", "uda", "--steps", str(STEPS), "--batch-size", "4"]
SETTINGS = {
    **{"mu": 3, "log_every": 1, "save_every": 4, "eval_every": 10, "model.name": "small_conv", "model.width": 4},
    **{"augment.size": 24, "augment.cutout": 8, "loader.block": 1, "data.test": "20%", "optimizer.warmup": 0},
}
ARGUMENTS += [f"--set={key}={value}" for key, value in SETTINGS.items()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make three classes of 22 photographs, all of different sizes."""
    folder = tmp_path_factory.mktemp("home")
    for number in range(66):
        path = folder / "images" / "abc"[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(smooth(32 + number % 5, 30 + number % 7, number)))
    return folder


def command(out: str, loader: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.train", "--nproc", "2", "--out", out, "--loader", loader, *ARGUMENTS]


@pytest.mark.parametrize("loader", ["webdataset", "dali"])
def test_a_killed_rank_changes_no_bit_of_a_stream(home: Path, loader: str) -> None:
    done = run(home, command(loader, loader))
    assert done.returncode == 0, done.stderr
    expected: dict[str, torch.Tensor] = load_file(home / loader / "model.safetensors")
    out = f"{loader}-killed"
    with started(home, command(out, loader)) as process:
        wait_for(lambda: steps_logged(home, out) > 5, process)
        os.kill(rank_process(process.pid, 1), signal.SIGKILL)
        _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors
    assert "killed by signal 9; going on from the last checkpoint" in errors
    assert_same_model(home, out, expected)


def test_records_train_what_tars_train(home: Path) -> None:
    pytest.importorskip("nvidia.dali")
    done = run(home, command("tars", "dali"))
    assert done.returncode == 0, done.stderr
    convert(home / "data" / "images-10pct-seed0", load_manifest(home / "data" / "images-10pct-seed0"))
    done = run(home, command("records", "dali"))
    assert done.returncode == 0, done.stderr
    assert_same_model(home, "records", load_file(home / "tars" / "model.safetensors"))


def test_a_resident_loader_is_refused_in_one_line(home: Path) -> None:
    done = run(home, command("resident", "resident"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "folder cannot be resident" in done.stderr
