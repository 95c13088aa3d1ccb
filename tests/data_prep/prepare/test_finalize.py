"""A set that several processes write has the bytes of one process, and no manifest before all of it is written."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from data_prep.cli import main
from data_prep.dataset.manifest import load_manifest
from data_prep.prepare.finalize import finish, wait_and_finish
from data_prep.prepare.options import PrepareRequest, ShardRange, resolve
from data_prep.prepare.run import prepare, prepare_range
from data_prep.system.atomic_files import locked
from data_prep.system.errors import DataError, UsageError, UserError
from tests.data_prep.fixtures import contents, times_open
from tests.data_prep.trees import names_of, write
from tests.limits import LIMIT_S, wait_for

SMALL_SHARDS = 100


def range_of(folder, index, count, **options):
    options = {"shard_size": SMALL_SHARDS} | options
    return resolve(PrepareRequest("digits", out=folder, shard_range=ShardRange(index, count), **options))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "set"
    prepare(PrepareRequest("digits", out=folder, shard_size=SMALL_SHARDS))
    return folder


def start(dataset, out, *arguments):
    command = [sys.executable, "-c", "from data_prep.cli import main; main()", "prepare", dataset, f"--out={out}"]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_ranges_of_a_folder_of_files_at_the_same_time(tmp_path):
    source = write(tmp_path / "source", names_of("cat", "dog", count=20))
    options = (f"--source={source}", "--shard-size=2", "--workers=1")
    ranges = [start("folder", tmp_path / "set", *options, f"--shard-range={index}/4") for index in range(4)]
    assert [process.wait(LIMIT_S) for process in ranges] == [0, 0, 0, 0]
    finish(tmp_path / "set")
    assert start("folder", tmp_path / "whole", *options).wait(LIMIT_S) == 0
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_processes_at_the_same_time_give_the_bytes_of_one(whole, tmp_path):
    command = [
        sys.executable,
        "-c",
        "from data_prep.cli import main; main()",
        "prepare",
        "digits",
        "--out",
        str(tmp_path),
    ]
    command += ["--shard-size", str(SMALL_SHARDS), "--shard-range", "3"]
    others = [
        subprocess.Popen(command, env=os.environ | {"JOB_COMPLETION_INDEX": str(index)}, stdout=subprocess.DEVNULL)
        for index in range(3)
    ]
    assert [process.wait(LIMIT_S) for process in others] == [0, 0, 0]
    assert not (tmp_path / "manifest.json").exists()
    assert finish(tmp_path) == load_manifest(whole)
    assert contents(tmp_path) == contents(whole)


@pytest.mark.slow
def test_each_range_writes_its_own_shards(whole, tmp_path):
    names = [shard.name for shard in load_manifest(whole).shards]
    for index in range(2):
        before = {path.name for path in tmp_path.glob("*.tar")}
        assert prepare_range(range_of(tmp_path, index, 2)) == len(names[index::2])
        assert {path.name for path in tmp_path.glob("*.tar")} - before == set(names[index::2])


def test_a_range_that_is_missing_is_named(tmp_path):
    prepare_range(range_of(tmp_path, 0, 2))
    with pytest.raises(UsageError, match=r"9 of 19 shards are not written yet \(unlabeled-000000.tar, "):
        finish(tmp_path)


@pytest.mark.slow
def test_ranges_of_two_preparations_do_not_mix(tmp_path):
    prepare_range(range_of(tmp_path, 0, 2))
    with pytest.raises(UsageError, match="seed 0 there and 1 here"):
        prepare_range(range_of(tmp_path, 1, 2, seed=1))
    with pytest.raises(UsageError, match="is being prepared in other shard ranges"):
        prepare_range(range_of(tmp_path, 1, 3))
    with pytest.raises(UsageError, match="is being prepared in other shard ranges"):
        prepare(PrepareRequest("digits", out=tmp_path, shard_size=SMALL_SHARDS))
    prepare_range(range_of(tmp_path, 1, 2))
    finish(tmp_path)


@pytest.mark.slow
def test_nobody_else_prepares_while_a_range_is_being_written(tmp_path):
    """A whole preparation waits for the range, and then refuses the folder, which is of another preparation."""
    with locked(tmp_path / ".lock", shared=True):
        whole = start("digits", tmp_path, "--split-seed=7")
        wait_for(lambda: times_open(tmp_path / ".lock", whole.pid))
        prepare_range(range_of(tmp_path, 0, 2))
        assert whole.poll() is None
    assert whole.wait(LIMIT_S) == 2
    assert not (tmp_path / "manifest.json").exists()


def test_a_shard_that_was_damaged_meanwhile_is_found(tmp_path):
    for index in range(2):
        prepare_range(range_of(tmp_path, index, 2))
    path = tmp_path / "test-000001.tar"
    path.write_bytes(path.read_bytes()[:-1024])
    with pytest.raises(DataError, match=r"test-000001.tar: \d+ bytes, the manifest says \d+"):
        finish(tmp_path)
    prepare_range(range_of(tmp_path, 0, 2))
    prepare_range(range_of(tmp_path, 1, 2))
    finish(tmp_path)


def test_a_second_call_of_a_range_or_of_finish_changes_nothing(whole, tmp_path):
    for index in (0, 1, 0):
        prepare_range(range_of(tmp_path, index, 2))
    for _ in range(2):
        finish(tmp_path)
    assert prepare_range(range_of(tmp_path, 1, 2)) == 0
    assert contents(tmp_path) == contents(whole)
    (tmp_path / "val-000000.tar").unlink()
    with pytest.raises(DataError, match="has lost val-000000"):
        finish(tmp_path)


def test_ranges_are_tars_alone(tmp_path):
    arguments = ["prepare", "digits", f"--out={tmp_path}", "--shard-range=0/2", "--format=webdataset,recordio"]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "smpl-data convert" in result.stderr


@pytest.mark.parametrize(("folder", "said"), [("nothing", "does not exist"), (".", "holds no shards")])
def test_there_is_nothing_to_finish(folder, said, tmp_path):
    result = CliRunner().invoke(main, ["finish", str(tmp_path / folder)])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert said in result.stderr


@pytest.mark.slow
def test_a_wait_finishes_what_comes(whole, tmp_path, monkeypatch, caplog):
    def next_range(_):
        prepare_range(range_of(tmp_path, next(indices), 2))

    indices = iter(range(2))
    monkeypatch.setattr("data_prep.prepare.finalize.time.sleep", next_range)
    with caplog.at_level("INFO", "data_prep"):
        assert wait_and_finish(tmp_path, 60) == load_manifest(whole)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "holds no shards" in caplog.text
    assert contents(tmp_path) == contents(whole)
    assert wait_and_finish(tmp_path, 0) == load_manifest(whole)


@pytest.mark.parametrize("second", [finish, lambda folder: wait_and_finish(folder, 0)])
def test_the_second_at_the_lock_finds_a_finished_set(second, whole, tmp_path, monkeypatch):
    for index in range(2):
        prepare_range(range_of(tmp_path, index, 2))

    @contextmanager
    def after_another(path, **_):
        monkeypatch.setattr("data_prep.prepare.finalize.locked", locked)
        finish(path.parent)
        yield

    monkeypatch.setattr("data_prep.prepare.finalize.locked", after_another)
    assert second(tmp_path) == load_manifest(whole)
    assert contents(tmp_path) == contents(whole)


def test_it_waits_while_a_range_is_being_written(tmp_path):
    for index in range(2):
        prepare_range(range_of(tmp_path, index, 2))
    with locked(tmp_path / ".lock", shared=True), pytest.raises(UserError, match=r"at work there.*; waited 0 s"):
        wait_and_finish(tmp_path, 0)
    wait_and_finish(tmp_path, 0)


def test_a_wait_that_runs_out_exits_with_1(tmp_path):
    result = CliRunner().invoke(main, ["finish", str(tmp_path / "set"), "--wait", "0s"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "does not exist" in result.stderr


def test_what_no_wait_can_repair_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.prepare.finalize.time.sleep", lambda _: pytest.fail("it should not wait"))
    for index in range(2):
        prepare_range(range_of(tmp_path / "set", index, 2))
    path = tmp_path / "set" / "test-000001.tar"
    path.write_bytes(path.read_bytes()[:-1024])
    with pytest.raises(DataError, match="test-000001"):
        wait_and_finish(tmp_path / "set", 60)
    prepare_range(range_of(tmp_path / "other", 0, 2, seed=1))
    (tmp_path / "other" / ".progress-0-of-2.jsonl").replace(tmp_path / "set" / ".progress-0-of-2.jsonl")
    with pytest.raises(UsageError, match="is of another preparation"):
        wait_and_finish(tmp_path / "set", 60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_wait_exits_with_4(number, tmp_path):
    command = [sys.executable, "-c", "from data_prep.cli import main; main()", "finish", str(tmp_path), "--wait=12h"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert "INFO waiting at most 43200 s: " in process.stderr.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert errors == f"error: stopped by {number.name}; the same command goes on from here\n"
    assert process.returncode == 4


@pytest.mark.parametrize("text", ["", "h", "1d", "-1", "1.5h", "soon"])
def test_a_wrong_duration_is_one_line(text, tmp_path):
    result = CliRunner().invoke(main, ["finish", str(tmp_path), "--wait", text])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "12h" in result.stderr


@pytest.mark.parametrize("text", ["2/2", "-1/2", "1", "a/b", "1/", "/2", ""])
def test_a_wrong_range_is_one_line(text, tmp_path, monkeypatch):
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
    result = CliRunner().invoke(main, ["prepare", "digits", "--out", str(tmp_path), f"--shard-range={text}"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "I/N with I from 0 to N - 1" in result.stderr
