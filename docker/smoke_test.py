"""Test the image as a cautious user runs it: read-only, without capabilities, as a user id that it does not know.

``make image-test`` runs these tests; the variables IMAGE and ENGINE name the image and the program (docker or podman).
"""

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

ENGINE, IMAGE = os.environ.get("ENGINE", "podman"), os.environ.get("IMAGE", "localhost/smpl-train")
STRANGER = "12345:12345"
LOCKED = [
    "--read-only",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    f"--user={STRANGER}",
    "--tmpfs=/tmp:exec",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder for each volume and one for official files, writable for any user id."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("data", "out", "official"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    return folder


def words(home: Path, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
    volumes = [f"--volume={home / name}:/{name}" for name in ("data", "out")]
    return [ENGINE, "run", "--rm", *LOCKED, *volumes, *options, IMAGE, *arguments]


def run(home: Path, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = words(home, *arguments, options=options)
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def image() -> dict:
    done = subprocess.run([ENGINE, "image", "inspect", IMAGE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)[0]["Config"]


@pytest.fixture(scope="module")
def stopped(home: Path) -> int:
    """Send SIGTERM to the default run while it trains; return its exit code."""
    name = f"smpl-smoke-{os.getpid()}"
    process = subprocess.Popen(
        words(home, options=(f"--name={name}",)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    log = home / "out" / "digits-smpl-seed0" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") > 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    subprocess.run([ENGINE, "kill", "--signal=TERM", name], check=True, capture_output=True)
    process.communicate(timeout=90)
    return process.returncode


def test_sigterm_saves_and_ends_with_4(home: Path, stopped: int) -> None:
    assert stopped == 4
    assert list((home / "out" / "digits-smpl-seed0" / "checkpoints").iterdir())
    assert not (home / "out" / "digits-smpl-seed0" / "summary.json").exists()


def test_the_same_volumes_resume_and_the_default_run_ends(home: Path, stopped: int) -> None:
    done = run(home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming at step" in done.stderr
    summary = json.loads((home / "out" / "digits-smpl-seed0" / "summary.json").read_text())
    assert summary["results"]["last, averaged"]["test"]["accuracy"] > 80
    log = (home / "out" / "digits-smpl-seed0" / "metrics.jsonl").read_bytes()
    repeated = run(home)
    assert repeated.returncode == 0
    assert (home / "out" / "digits-smpl-seed0" / "metrics.jsonl").read_bytes() == log
    assert f"{summary['results']['last, averaged']['test']['accuracy']:.2f} %" in repeated.stdout


def test_the_exported_model_is_evaluated(home: Path, stopped: int) -> None:
    done = run(home, "evaluate", "/out/digits-smpl-seed0")
    assert done.returncode == 0, done.stderr


def test_doctor_finds_no_failure(home: Path) -> None:
    done = run(home, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr


def test_svhn_trains_from_official_files(home: Path) -> None:
    generator = np.random.default_rng(0)
    for part, count in {"train": 400, "test": 60}.items():
        images = generator.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        savemat(home / "official" / f"{part}_32x32.mat", {"X": images, "y": labels})
    small = ("--labels=40", "--set=data.val=40", "--steps=2", "--batch-size=4", "--mu=2", "--set=model.width=1")
    mounted = (f"--volume={home / 'official'}:/source:ro",)
    done = run(home, "--dataset", "svhn", "--source", "/source", "--checksum", "off", *small, options=mounted)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("--no-such-flag",), 2, "--no-such-flag"),
        (("no-such-command",), 2, "no-such-command"),
        (("--data-dir", "/nowhere"), 2, "/nowhere"),
        (("data", "show", "/nowhere"), 3, "/nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(home: Path, arguments: tuple[str, ...], code: int, named: str) -> None:
    done = run(home, *arguments)
    assert done.returncode == code, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_words_reach_the_other_commands(home: Path) -> None:
    for command in (
        ("data", "prepare", "--help"),
        ("smpl-data", "--help"),
        ("tensorboard", "--version"),
        ("compare", "--help"),
    ):
        assert run(home, *command).returncode == 0, command
    assert "train" in run(home, "train", "--help").stdout


def test_nothing_but_the_volumes_and_tmp_can_be_written(home: Path) -> None:
    places = "/ /opt/smpl /opt/torch /usr /data /out /tmp"
    probe = f"for d in {places}; do touch $d/probe 2>/dev/null && echo $d && rm $d/probe; done"
    assert run(home, "sh", "-c", probe).stdout.split() == ["/data", "/out", "/tmp"]


def test_code_on_a_volume_is_not_run(home: Path) -> None:
    (home / "out" / "yaml.py").write_text("raise SystemExit(9)")
    done = run(home, "--nproc", "2", "--steps", "2", "--set=model.width=1", "--out", "/out/safe")
    (home / "out" / "yaml.py").unlink()
    assert done.returncode == 0, done.stderr


def test_networks_are_compiled(home: Path) -> None:
    small = ("--method=supervised", "--steps=2", "--set=model.width=1")
    done = run(home, "--compile=max", *small, "--out=/out/compiled")
    assert done.returncode == 0, done.stderr
    assert "compiled" in done.stderr


def test_there_is_no_installer(home: Path) -> None:
    assert run(home, "sh", "-c", "command -v pip pip3").stdout == ""


def test_the_image_says_what_it_is(image: dict) -> None:
    assert image["User"] == "65532:65532"
    assert image["StopSignal"] in {"SIGTERM", "15"}
    assert image["Entrypoint"][:2] == ["/usr/bin/tini", "-g"]
    assert set(image["Volumes"]) == {"/data", "/out"}
    assert image["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
