"""Every command line of the manifests is one that the real commands accept, and they agree about folders."""

import os
import shutil
import subprocess

import pytest
from click import ClickException

from data_prep.errors import UsageError
from pipeline.config import batch_error
from tests.k8s.commands import Finishing, Preparing, Reader, Training, environment
from tests.k8s.jobs import BAD_DATA
from tests.k8s.objects import FILES, load, workloads

RUNS = [name for name in FILES if name != "tensorboard.yaml"]
GANGS = [name for name in FILES if name.startswith("imagenet10")]


@pytest.fixture
def reader(monkeypatch):
    return Reader(monkeypatch)


def calls(reader, name, kind):
    """Every call of a kind in a file, with the workload, the container and the index that make it."""
    return [
        (call, work, part, index)
        for work in workloads(load(name))
        for part in work.containers
        for index in range(work.spec.get("completions", 1))
        for call in reader.read(work, part, index)
        if isinstance(call, kind)
    ]


@pytest.mark.parametrize("name", FILES)
def test_every_container_runs_something(reader, name):
    for work in workloads(load(name)):
        for part in work.containers:
            assert reader.read(work, part), f"{work.name}/{part['name']}: {part['args']}"


@pytest.mark.parametrize("name", [name for name in RUNS if name != "digits-cpu-job.yaml"])
def test_a_run_finds_what_was_prepared(reader, name):
    """Folder and options of preparation are those that training asks for, index by index."""
    prepared = {call.folder: call.options for call, *_ in calls(reader, name, Preparing)}
    for call, *_ in calls(reader, name, Training):
        asked = call.config.data.model_dump(exclude_none=True, exclude_unset=True)
        assert asked
        assert {key: prepared[call.folder][key] for key in asked} == asked
    assert {call.folder for call, *_ in calls(reader, name, Training)} == prepared.keys()


@pytest.mark.parametrize("name", GANGS)
def test_what_is_finished_is_what_was_prepared(reader, name):
    finished = {call.folder for call, *_ in calls(reader, name, Finishing)}
    assert finished == {call.folder for call, *_ in calls(reader, name, Preparing)}


@pytest.mark.parametrize("name", RUNS)
def test_runs_are_on_the_claim(reader, name):
    for call, _, part, _ in calls(reader, name, Training):
        assert call.out.parts[:2] == ("/", "out")
        assert {"name": "out", "mountPath": "/out"} in part["volumeMounts"]


@pytest.mark.parametrize("name", GANGS)
def test_the_batch_divides_among_all_gpus(reader, name):
    for call, work, part, index in calls(reader, name, Training):
        env = environment(work, part, index)
        assert batch_error(call.config, int(env["PET_NNODES"]) * int(env["PET_NPROC_PER_NODE"])) is None


@pytest.mark.parametrize("name", GANGS)
def test_shares_are_one_whole(reader, name):
    shares = [call.request.share for call, *_ in calls(reader, name, Preparing)]
    assert [(share.index, share.count) for share in shares] == [(index, len(shares)) for index in range(len(shares))]


def test_every_seed_has_labels_and_a_run_of_its_own(reader):
    runs = [call for call, *_ in calls(reader, "sweep-job.yaml", Training)]
    assert [(run.config.seed, run.config.data.seed) for run in runs] == [(seed, seed) for seed in range(5)]
    assert len({run.out for run in runs}) == len({run.folder for run in runs}) == len(runs)


@pytest.mark.parametrize("name", FILES)
def test_scripts_are_shell(name):
    scripts = [part["args"][2] for work in workloads(load(name)) for part in work.containers if part["args"][0] == "sh"]
    assert bool(scripts) == name.startswith("imagenet10")
    for script in scripts:
        assert subprocess.run([shutil.which("sh"), "-n", "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--sede", "1"], "sede"),
        (["data", "prepare", "cifar01"], "cifar01"),
        (["--set", "sed=1"], "sed"),
        (["trian"], "trian"),
    ],
)
def test_a_wrong_word_is_refused(reader, words, named):
    (work,) = workloads(load("digits-cpu-job.yaml"))
    with pytest.raises((ClickException, UsageError), match=named):
        reader.read(work, work.main | {"args": words})


@pytest.mark.parametrize(("codes", "ends"), [([0], 0), ([2, 2, 0], 0), ([2, 3], 3), ([1], 1)])
def test_finishing_asks_again_until_all_shares_are_there(tmp_path, codes, ends):
    """Exit code 2 means that shards are missing; all others end it."""
    assert run_script(tmp_path, "imagenet10-finish", codes) == ends
    assert (tmp_path / "codes").read_text() == ""


@pytest.mark.parametrize("ends", [0, 3])
def test_training_begins_with_a_finished_set(tmp_path, ends):
    (tmp_path / "manifest.json").touch()
    assert run_script(tmp_path, "imagenet10-train", [ends]) == ends


def test_training_gives_up_where_nothing_is_prepared(tmp_path):
    """It fails for good, so that its GPUs go to others."""
    assert run_script(tmp_path, "imagenet10-train", [], timeout="exit 124") == BAD_DATA


def run_script(folder, name, codes, timeout='shift; exec "$@"'):
    """Run the script of a Job in the folder of a set, with a `smpl` that exits with these codes, one a call."""
    (work,) = [work for work in workloads(load("imagenet10-job.yaml")) if work.name == name]
    (script,) = [part["args"][2] for part in work.containers if part["args"][0] == "sh"]
    (folder / "codes").write_text("".join(f"{code}\n" for code in codes))
    smpl = f'read -r code <{folder}/codes; sed -i 1d {folder}/codes; exit "$code"'
    for program, text in {"smpl": smpl, "sleep": "exit 0", "timeout": timeout}.items():
        (folder / program).write_text(f"#!/bin/sh\n{text}\n")
        (folder / program).chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "SET": str(folder)}
    return subprocess.run([shutil.which("sh"), "-c", script], env=env, check=False, capture_output=True).returncode
