"""The command smpl doctor: what it finds on this machine, and on machines that lack something."""

import configparser
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from click.testing import CliRunner
from PIL import Image

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system import cgroup
from pipeline.commands.doctor import main
from pipeline.doctor import data_set, folders, images, libraries, machine, network, subprocess_checks
from pipeline.doctor.check import Check, CheckOptions, CheckResult, Level, parse_result, run_checks
from pipeline.doctor.isolated_process import run_isolated
from tests import ROOT
from tests.limits import LIMIT_S, wait_for
from tests.pipeline.processes import search_path

MADE = {"python", "cpus", "memory", "shared memory", "open files", "temporary files", "home", "prepared sets"}
MADE |= {"downloads", "runs", "host name", "image formats", "torch", "two processes", "training"}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with the home, the caches and the temporary files in other empty ones."""
    variables = {"HOME": "home", "TMPDIR": "tmp", "SMPL_DATA": "sets", "SMPL_CACHE": "cache", "SMPL_RUNS": "runs"}
    for name, folder in variables.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("PET_NNODES", "PET_LOCAL_ADDR", "RANK", *folders.CACHES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for name in ("home", "tmp", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def find(check: Check, data_dir: Path | None = None, out: Path | None = None) -> CheckResult:
    """Return the only result of a check."""
    (found,) = check(CheckOptions(data_dir, out))
    return found


def left(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


@pytest.mark.slow
def test_this_machine_is_healthy_and_stays_as_it_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(folders.CACHES):
        monkeypatch.setenv(name, str(place / "home" / str(number)))
    before = left(place)
    result = CliRunner().invoke(main, ["--out", "new/run"])
    assert result.exit_code == 0, result.output
    assert left(place) == before
    assert all(name in result.stdout for name in MADE | {"torchvision", "GPU", "precision", "DALI", *folders.CACHES})
    assert "0 failures" in result.stdout
    assert "new/run can be made" in result.stdout


def test_without_torch_every_check_is_made_and_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "fake" / "torch").mkdir(parents=True)
    (place / "fake" / "torch" / "__init__.py").write_text("raise ImportError('libtorch is broken on purpose')\n")
    monkeypatch.setenv("PYTHONPATH", str(place / "fake"))
    words = [sys.executable, "-m", "pipeline.cli", "doctor", "--json", "findings.json"]
    path = os.pathsep.join((str(place / "fake"), str(ROOT)))
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (1, "")
    answer = json.loads(Path("findings.json").read_text())
    found = [parse_result(json.dumps(finding)) for finding in answer["findings"]]
    assert done.stdout.splitlines()[:-1] == "\n".join(result.text() for result in found).splitlines()
    assert {finding.name for finding in found} == MADE
    failed = {finding.name: finding for finding in found if finding.level is Level.FAILURE}
    assert set(failed) == {"torch", "two processes", "training"}
    assert all("libtorch is broken on purpose" in finding.found and finding.remedy for finding in failed.values())
    assert answer["healthy"] is False


def test_a_stopped_doctor_leaves_no_process_and_no_file(place: Path) -> None:
    words = [sys.executable, "-m", "pipeline.cli", "doctor"]
    environment = os.environ | {"PYTHONPATH": search_path(), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any("image formats" in line for line in process.stdout)
    wait_for(lambda: children(process.pid), process)
    child = children(process.pid)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 4
    assert errors.startswith("error: stopped by SIGTERM")
    assert not any(Path(f"/proc/{pid}").exists() for pid in child)
    assert left(place) == ["here", "home", "tmp"]


def children(parent: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def test_only_json_goes_to_stdout_with_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = CheckResult("bad", Level.FAILURE, "found", "remedy")
    monkeypatch.setattr("pipeline.commands.doctor.CHECKS", (lambda _: [bad],))
    result = CliRunner().invoke(main, ["--json", "-"])
    assert result.exit_code == 1
    expected = {"name": "bad", "level": "failure", "found": "found", "remedy": "remedy"}
    assert json.loads(result.stdout) == {"healthy": False, "findings": [expected]}


def test_a_check_that_breaks_is_a_failure_and_the_others_still_run() -> None:
    def first_check(_: CheckOptions) -> Iterator[CheckResult]:
        yield CheckResult("begun", Level.OK, "")
        raise ZeroDivisionError("two\nlines")

    def second_check(_: CheckOptions) -> Iterator[CheckResult]:
        yield CheckResult("second", Level.OK, "")

    begun, broken, second = run_checks([first_check, second_check], CheckOptions())
    assert (begun.name, broken.name, second.name) == ("begun", "first check", "second")
    assert (broken.level, broken.found) == (Level.FAILURE, "ZeroDivisionError: two lines")


def test_the_versions_of_python_are_those_of_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = [line.rsplit(" ", 1)[1] for line in setup["metadata"]["classifiers"].splitlines() if "Python :: 3." in line]
    spans = [tuple(map(int, version.split("."))) for version in named]
    assert (min(spans), max(spans)) == (machine.OLDEST, machine.NEWEST)
    assert setup["options"]["python_requires"] == f">={named[0]}"


@pytest.mark.parametrize("version", [(3, 10, 9), (3, 99, 0)])
def test_an_unsupported_python_is_reported(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    found = find(machine.python)
    assert found.level is (Level.FAILURE if version < machine.OLDEST else Level.WARNING)


def groups(folder: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str]) -> None:
    """Put a control group's files in place of the machine's."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")
    (folder / "own").write_text(own)
    monkeypatch.setattr(cgroup, "ROOT", folder)
    monkeypatch.setattr(cgroup, "OWN", folder / "own")


V2 = {"cpu.max": "max 100000", "pod/cpu.max": "150000 100000", "pod/box/cpu.max": "max 100000"}
V2 |= {
    "pod/memory.max": str(3 << 30),
    "pod/memory.current": str(2 << 30),
    "pod/memory.stat": f"inactive_file {1 << 29}",
}
V1 = {"cpu/box/cpu.cfs_quota_us": "150000", "cpu/box/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1"}
V1 |= {"memory/memory.limit_in_bytes": str(3 << 30), "memory/memory.usage_in_bytes": str(2 << 30)}
V1 |= {"memory/memory.stat": f"inactive_file 0\ntotal_inactive_file {1 << 29}"}
GROUPS = {"v2": ("0::/pod/box\n", V2), "v1": ("4:memory:/of/the/host\n2:cpu,cpuacct:/box\n0::/\n", V1)}


@pytest.mark.parametrize("version", GROUPS)
def test_a_containers_limits_are_found_in_either_version(
    place: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    groups(place / "groups", monkeypatch, *GROUPS[version])
    assert cgroup.cpu_quota() == 1.5
    assert cgroup.memory() == (3 << 30, (2 << 30) - (1 << 29))
    assert "of 3.0 GiB, the limit of the container" in find(machine.memory).found
    assert find(machine.memory).level is Level.WARNING


def test_more_threads_than_the_quota_allows_are_a_warning_that_names_their_number(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups(place / "groups", monkeypatch, "0::/pod\n", V2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    for asked, level in {"2": Level.OK, "3": Level.WARNING, "": Level.WARNING}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        found = find(machine.cpus)
        assert found.level is level
        assert ("OMP_NUM_THREADS=2" in found.remedy) == (level is Level.WARNING)


def test_little_shared_memory_is_a_warning_where_somebody_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_has_dali", lambda: False)
    monkeypatch.setattr(machine, "shared_bytes", lambda: 64 << 20)
    for count, level in {0: Level.NOTE, 1: Level.NOTE, 2: Level.WARNING}.items():
        monkeypatch.setattr(machine, "gpus", lambda count=count: count)
        found = find(machine.shared_memory)
        assert found.level is level
        assert "64 MiB" in found.found
        assert "--shm-size=8g" in found.remedy
    monkeypatch.setattr(machine, "shared_bytes", lambda: 8 << 30)
    assert find(machine.shared_memory).level is Level.OK


def test_a_run_folder_that_cannot_be_is_a_failure_and_the_remedy_names_the_option(place: Path) -> None:
    (place / "file").write_text("")
    for out in (place / "file", place / "file" / "below" / "it"):
        found = find(folders.runs, out=out)
        assert found.level is Level.FAILURE
        assert str(place / "file") in found.found
        assert "--out" in found.remedy


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_without_rights_is_a_failure_for_that_user(place: Path) -> None:
    """The check runs in a forked process as another user, who may look everywhere and write nowhere."""
    (place / "shut").mkdir()
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        os.setuid(54321)
        found = find(folders.runs, out=place / "shut")
        os.write(writer, f"{found.level} {found.found}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 1000).decode().startswith("failure cannot write")


def test_a_full_disk_is_a_failure_and_nothing_is_left(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    before = left(place)
    found = find(folders.runs)
    assert (found.level, "No space left" in found.found) == (Level.FAILURE, True)
    assert left(place) == before


def test_little_space_and_few_inodes_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"f_bavail": 1 << 30, "f_frsize": 4096, "f_files": 1 << 20, "f_favail": 1 << 19}
    for change, word in {("f_bavail", 100): "0.0 GB", ("f_favail", 3): "only 3 inodes", ("f_files", 0): "GB"}.items():
        values = state | dict([change])
        monkeypatch.setattr(os, "statvfs", lambda _, values=values: SimpleNamespace(**values))
        found = find(folders.runs)
        assert found.level is (Level.OK if change[0] == "f_files" else Level.WARNING)
        assert word in found.found


def test_prepared_sets_that_are_there_may_be_read_only(place: Path) -> None:
    (place / "sets").write_text("")
    assert find(folders.prepared_sets).level is Level.FAILURE
    assert find(folders.prepared_sets, data_dir=place).level is Level.WARNING


def test_a_user_without_a_home_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SMPL_CACHE")
    monkeypatch.setattr(Path, "home", classmethod(nobody))
    for check in (folders.home, folders.downloads):
        found = find(check)
        assert found.level is Level.WARNING
        assert "HOME" in found.found + found.remedy


def test_a_prepared_set_is_opened_and_its_missing_shards_are_found(place: Path) -> None:
    folder = place / "moons"
    prepare(PrepareRequest("moons", out=folder))
    found = find(data_set.data_set, data_dir=folder)
    assert (found.level, "2 classes, 6 labeled, 2,000 unlabeled, 0 val, 2,000 test" in found.found) == (Level.OK, True)
    (folder / "test-000000.tar").unlink()
    found = find(data_set.data_set, data_dir=folder)
    assert (found.level, "test-000000.tar" in found.found) == (Level.FAILURE, True)
    assert "smpl-data prepare moons" in found.remedy
    (folder / "manifest.json").write_text("{")
    found = find(data_set.data_set, data_dir=folder)
    assert (found.level, "manifest.json cannot be read" in found.found) == (Level.FAILURE, True)
    assert not list(data_set.data_set(CheckOptions()))


def nameless(*_: Any, **__: Any) -> list[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(("gpus", "level"), [(0, Level.WARNING), (2, Level.FAILURE)])
def test_a_host_name_that_does_not_resolve_is_reported_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, gpus: int, level: Level
) -> None:
    monkeypatch.setattr(network, "gpus", lambda: gpus)
    monkeypatch.setattr(socket, "getaddrinfo", nameless)
    found = find(network.host_name)
    assert found.level is level
    assert repr(socket.gethostname()) in found.found
    assert "GLOO_SOCKET_IFNAME" in found.remedy


def test_the_name_of_another_machine_is_not_this_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "gpus", lambda: 0)
    monkeypatch.setenv("PET_LOCAL_ADDR", "192.0.2.77")
    assert find(network.host_name).level is Level.WARNING
    monkeypatch.setenv("PET_LOCAL_ADDR", "127.0.0.1")
    assert find(network.host_name).level is Level.OK


def test_the_environment_of_several_nodes_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(network.nodes(CheckOptions()))
    monkeypatch.setenv("PET_NNODES", "2")
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
    assert "PET_NODE_RANK" in find(network.nodes).remedy
    monkeypatch.setenv("PET_NODE_RANK", "1")
    monkeypatch.setenv("PET_RDZV_ENDPOINT", "localhost:29400")
    found = find(network.nodes)
    assert (found.level, found.found) == (Level.OK, "node 1 of 2, which meet at localhost:29400")
    monkeypatch.setattr(socket, "getaddrinfo", nameless)
    assert find(network.nodes).level is Level.FAILURE


def test_a_broken_image_format_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    save: Callable[..., None] = Image.Image.save

    def broken(self: Image.Image, file: Any, name: str, **options: Any) -> None:
        if name == "WEBP":
            raise OSError("encoder webp not available")
        save(self.point(lambda value: value // 2) if name == "PNG" else self, file, name, **options)

    monkeypatch.setattr(Image.Image, "save", broken)
    found = find(images.image_formats)
    assert found.level is Level.FAILURE
    assert (
        found.found
        == "PNG: the decoded pixels are not those that were encoded; WEBP: OSError: encoder webp not available"
    )


def test_a_torchvision_of_another_torch_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(libraries.vision).level is Level.OK

    def missing(*_: Any) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", missing)
    found = find(libraries.vision)
    assert (found.level, "nms does not exist" in found.found) == (Level.FAILURE, True)
    assert "built for each other" in found.remedy


def test_a_driver_that_torch_cannot_use_is_more_than_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for count, level in {0: Level.NOTE, 1: Level.WARNING}.items():
        monkeypatch.setattr(libraries, "gpus_shown", lambda count=count: count)
        found = find(libraries.gpus)
        assert (found.level, "CPU only: " in found.found) == (level, True)


def test_a_process_that_hangs_or_dies_is_reported_and_leaves_nothing(place: Path) -> None:
    hanging, killed = f"import time; time.sleep({LIMIT_S})", "import os; os.kill(os.getpid(), 9)"
    ended = run_isolated(["-c", hanging], seconds=0.2)
    assert (ended.code, ended.problem) == (None, "did not end in time")
    ended = run_isolated(["-c", killed], LIMIT_S)
    assert (ended.code, ended.problem) == (-9, "killed by SIGKILL")
    assert left(place) == ["here", "home", "tmp"]


def test_an_isolated_process_knows_nothing_of_the_run_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PET_NNODES", "RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID", "PET_LOCAL_ADDR"):
        monkeypatch.setenv(name, "7")
    ended = run_isolated(["-c", "import os; print(*[k for k, v in os.environ.items() if v == '7'])"], LIMIT_S)
    assert ended.output.split() == ["PET_LOCAL_ADDR"]


def test_a_gpu_without_what_compiling_needs_is_a_warning_and_a_cpu_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "missing_here", lambda device: "a compiler (gcc)")
    for device, level in (("cuda", Level.WARNING), ("cpu", Level.NOTE)):
        monkeypatch.setattr(libraries, "this_device", lambda kind=device: torch.device(kind))
        found = find(libraries.compiling)
        assert (found.level, found.found) == (level, "off: it needs a compiler (gcc)")


def test_libraries_that_hang_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess_checks, "LIBRARIES_SECONDS", 0.05)
    found = find(subprocess_checks.libraries)
    assert (found.level, found.found) == (Level.FAILURE, "cannot be imported: did not end in time")


def test_the_last_line_of_a_failed_training_is_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess_checks, "TRAINING", ["-c", "import sys; sys.exit('error: out of everything')"])
    found = find(subprocess_checks.training)
    assert (found.level, found.found) == (Level.FAILURE, "exit code 1: error: out of everything")
