"""The real commands accept every command line of the manifests, and the command lines agree about folders."""

import pytest
from click import ClickException

from data_prep.system.errors import UsageError
from pipeline.config.schema import batch_error
from tests.k8s.commands import Finishing, Preparing, Reader, Training, environment
from tests.k8s.objects import FILES, load, workloads

RUNS = [name for name in FILES if name != "tensorboard.yaml"]
GANGS = [name for name in FILES if name.startswith("imagenet10")]


@pytest.fixture
def reader(monkeypatch):
    return Reader(monkeypatch)


def calls(reader, name, kind):
    """Yield every call of a kind in a file, with its workload, container and index."""
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
    """The folder and options of the preparation are those that the training expects, for each index."""
    prepared = {call.folder: call.options for call, *_ in calls(reader, name, Preparing)}
    for call, *_ in calls(reader, name, Training):
        asked = call.config.data.model_dump(exclude_none=True, exclude_unset=True)
        assert asked
        assert {key: prepared[call.folder][key] for key in asked} == asked
    assert {call.folder for call, *_ in calls(reader, name, Training)} == prepared.keys()


@pytest.mark.parametrize("name", GANGS)
def test_what_is_finished_is_what_was_prepared(reader, name):
    finishing = [call for call, *_ in calls(reader, name, Finishing)]
    assert {call.folder for call in finishing} == {call.folder for call, *_ in calls(reader, name, Preparing)}
    assert all(call.wait for call in finishing)


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
    shares = [call.request.shard_range for call, *_ in calls(reader, name, Preparing)]
    assert [(share.index, share.count) for share in shares] == [(index, len(shares)) for index in range(len(shares))]


def test_every_seed_has_labels_and_a_run_of_its_own(reader):
    runs = [call for call, *_ in calls(reader, "sweep-job.yaml", Training)]
    assert [(run.config.seed, run.config.data.seed) for run in runs] == [(seed, seed) for seed in range(5)]
    assert len({run.out for run in runs}) == len({run.folder for run in runs}) == len(runs)


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
