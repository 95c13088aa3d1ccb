"""Killed, stopped, out of space: nothing looks finished, and the same command goes on."""

import os
import re
import resource
import signal
import subprocess
import threading
from contextlib import contextmanager, suppress

import pytest
from click.testing import CliRunner

from data_prep.cli import main
from tests.data_prep.fixtures import COMMAND, contents, run
from tests.limits import LIMIT_S, wait_for


@pytest.fixture(scope="module")
def arguments(cifar10):
    """A preparation of 150 small shards."""
    options = "--labels 20 --val 10 --shard-size 2 --checksum off"
    return ["prepare", "cifar10", *options.split(), "--source", str(cifar10)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, arguments):
    folder = tmp_path_factory.mktemp("undisturbed") / "set"
    assert run(*arguments, "--out", folder).returncode == 0
    return contents(folder)


def start_and_wait(folder, shards, *arguments):
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--out", str(folder)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(list(folder.glob("*.tar"))) >= shards, process)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_kill_then_the_same_command_completes(workers, tmp_path, arguments, undisturbed):
    folder = tmp_path / "set"
    process = start_and_wait(folder, 20, *arguments, "--workers", workers)
    process.kill()
    process.communicate(timeout=LIMIT_S)  # returns only when no orphaned worker holds the pipes any more
    assert not (folder / "manifest.json").exists()
    assert run("verify", folder).returncode == 3
    assert run(*arguments, "--out", folder).returncode == 0
    assert contents(folder) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_exits_with_4_and_one_line(number, tmp_path, arguments, undisturbed):
    folder = tmp_path / "set"
    process = start_and_wait(folder, 20, *arguments, "--workers", "2")
    process.send_signal(number)
    output, error = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 4
    assert error == f"error: stopped by {number.name}; the same command goes on from here\n"
    assert output == ""
    assert not (folder / "manifest.json").exists()
    assert run(*arguments, "--out", folder).returncode == 0
    assert contents(folder) == undisturbed


@pytest.mark.slow
def test_two_calls_at_once_give_one_whole_set(tmp_path, arguments, undisturbed):
    results = []
    calls = [threading.Thread(target=lambda: results.append(run(*arguments, "--out", tmp_path / "set"))) for _ in "ab"]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert [result.returncode for result in results] == [0, 0]
    assert contents(tmp_path / "set") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_full_disk_is_one_line_and_leaves_nothing_final(workers, tmp_path, arguments):
    """A file size limit stands in for a full disk: the first shard that is larger fails in the middle of its write."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))  # noqa: E731
    folder = tmp_path / "set"
    result = run(*arguments, "--out", folder, "--shard-size", "40", "--workers", workers, preexec_fn=limit)
    assert result.returncode == 3
    assert result.stderr.startswith("error: cannot write ")
    assert result.stderr.count("\n") == 1
    assert not (folder / "manifest.json").exists()
    assert not list(folder.glob("*.partial"))
    assert list(folder.glob("*.tar"))
    assert all(path.stat().st_size < 120_000 for path in folder.glob("*.tar"))


@contextmanager
def unprivileged():
    """Root may write anywhere: become nobody for a while, where that is allowed."""
    user = os.geteuid()
    with suppress(PermissionError):
        os.seteuid(65534 if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("name", [".", "set"])
def test_read_only_output_is_one_line(name, tmp_path):
    folder = tmp_path / "fixed"
    folder.mkdir(mode=0o555)
    with unprivileged():
        result = CliRunner().invoke(main, ["prepare", "digits", "--out", str(folder / name)])
    assert (result.exit_code, result.stdout) == (3, "")
    assert re.fullmatch(r"error: cannot write \S+: Permission denied; .*\n", result.stderr)
    assert list(folder.iterdir()) == []


def test_output_below_a_file_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    result = run("prepare", "digits", "--out", tmp_path / "file" / "set")
    assert result.returncode == 3
    assert result.stderr.startswith("error: cannot write ")
