"""Two nodes train as one, by the command and the environment of the Job for them; either may be lost and come back."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file
from torch.distributed.elastic.rendezvous import (
    RendezvousConnectionError,
    RendezvousHandler,
    RendezvousParameters,
    rendezvous_handler_registry,
)

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import UsageError, UserError
from pipeline.distributed.launcher import choose_processes
from pipeline.distributed.node_env import ALONE, Nodes, find_nodes
from pipeline.distributed.rendezvous import Meeting
from pipeline.distributed.world import World
from pipeline.train import main
from pipeline.training.rank import check_agreement
from tests import ROOT
from tests.limits import LIMIT_S, wait_for
from tests.pipeline.conftest import CPU, make_config
from tests.pipeline.machines import Machine, Pods, kill_tree, spoken, two_machines
from tests.pipeline.processes import assert_same_model, environment, rank_process, run, steps_logged
from tests.pipeline.streams import encode, smooth

MANIFEST = ROOT / "k8s" / "imagenet10-job.yaml"
OUT = "together"
TINY: dict[str, Any] = {
    "dataset": "imagenet",
    "method": "metasemi",
    **{"steps": 160, "batch_size": 4, "mu": 2, "precision": "fp32"},
    **{"log_every": 1, "save_every": 5, "eval_every": 80},
    "model": {"name": "small_conv", "width": 4},
    "optimizer": {"warmup": 0},
    "augment": {"size": 16, "cutout": 4},
}
SMALLER = ["--recipe", "tiny.yaml", "--set", "loader.workers=1"]
"""Flags after those of the Job: the last --recipe counts."""


@dataclass
class Cluster:
    """Two machines, and the pods of the Job on them."""

    home: Path
    machines: list[Machine]
    pods: Pods
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *indexes: int) -> None:
        """Start pods, or their successors, with the test's folders for volumes and one process for eight GPUs."""
        for index in indexes:
            own = self.pods.variables(index, self.machines[index].address) | {"PET_NPROC_PER_NODE": "1"}
            command = [*self.pods.command(), *SMALLER, "--out", OUT]
            variables = environment(self.home) | own
            self.running[index] = self.machines[index].start(command, variables, self.log(index), self.home)

    def lose(self, index: int) -> None:
        kill_tree(self.running.pop(index))

    def ends(self) -> list[int]:
        """Wait for both pods; return their exit codes."""
        return [self.running.pop(index).wait(timeout=LIMIT_S) for index in range(2)]

    def log(self, index: int) -> Path:
        return self.home / f"pod-{index}.log"

    def said(self) -> list[str]:
        return [self.log(index).read_text(errors="replace") for index in range(2)]

    def wait_for_steps(self) -> None:
        """Wait until the run has gone on for some steps."""
        target = steps_logged(self.home, OUT) + 10
        try:
            wait_for(lambda: steps_logged(self.home, OUT) > target)
        except AssertionError:
            raise AssertionError("\n".join(spoken(self.log(index)) for index in range(2))) from None


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of photographs, prepared as ImageNet is."""
    folder = tmp_path_factory.mktemp("home")
    for number in range(120):
        part, synset = ("val", "train")[number % 4 > 0], f"n0000000{number % 3}"
        path = folder / "images" / part / synset / f"{synset}_{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(smooth(20 + number % 5, 18 + number % 7, number)))
    prepare(PrepareRequest("imagenet", out=folder / "data" / "imagenet-10pct-seed0", source=folder / "images"))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return folder


@pytest.fixture
def cluster(home: Path) -> Iterator[Cluster]:
    pods = Pods.of(MANIFEST)
    with two_machines("smpl", pods.names) as machines:
        made = Cluster(home, machines, pods)
        try:
            yield made
        finally:
            for process in made.running.values():
                kill_tree(process)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The environment of node 1 of 2."""
    for name in [name for name in os.environ if name.startswith(("PET_", "JOB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PET_NNODES", "2")
    monkeypatch.setenv("PET_NODE_RANK", "1")
    monkeypatch.setenv("PET_RDZV_ENDPOINT", "train-0.train:29400")
    monkeypatch.setenv("SMPL_DATA", str(tmp_path))
    return monkeypatch


@pytest.mark.slow
def test_two_nodes_that_are_lost_stopped_and_started_again_train_what_one_node_trains(
    home: Path, cluster: Cluster
) -> None:
    alone = run(home, [sys.executable, "-m", "pipeline.train", "--nproc", "2", *SMALLER, "--out", "alone"])
    assert alone.returncode == 0, alone.stderr
    cluster.start(1, 0)
    cluster.wait_for_steps()
    os.kill(rank_process(cluster.running[1].pid, 1), signal.SIGKILL)  # a process of node 1
    cluster.wait_for_steps()
    cluster.lose(1)
    cluster.start(1)
    cluster.wait_for_steps()
    cluster.lose(0)  # and with it the store where the nodes meet
    cluster.start(0)
    cluster.wait_for_steps()
    cluster.running[1].send_signal(signal.SIGTERM)
    assert cluster.ends() == [4, 4], cluster.said()
    assert [text.count("stopped and saved") for text in cluster.said()] == [1, 1]
    cluster.start(0, 1)
    assert cluster.ends() == [0, 0], cluster.said()
    first, second = cluster.said()
    assert "Traceback" not in first + second, first + second
    assert "killed by signal 9; the nodes meet again" in second
    assert "the processes of another node are gone; the nodes meet again" in first
    assert_same_model(home, OUT, load_file(home / "alone" / "model.safetensors"))
    late = {**cluster.pods.variables(1, "10.77.0.2"), "PET_NPROC_PER_NODE": "1", "SMPL_DATA": str(home / "data")}
    words = ["--recipe", str(home / "tiny.yaml"), "--set", "loader.workers=1", "--out", str(home / OUT)]
    result = CliRunner().invoke(main, words, env=late)
    assert result.exit_code == 0, "a node that comes back after the end tells the result"
    assert "test accuracy" in result.stdout


WRONG = {
    "one whole number": {"PET_NNODES": "two"},
    "the batch is cut for just so many nodes": {"PET_NNODES": "1:4"},
    "set PET_NODE_RANK, or JOB_COMPLETION_INDEX": {"PET_NODE_RANK": ""},
    "PET_NODE_RANK=2: expected a whole number from 0 to 1": {"PET_NODE_RANK": "2"},
    "JOB_COMPLETION_INDEX=x: expected": {"PET_NODE_RANK": "", "JOB_COMPLETION_INDEX": "x"},
    "set PET_RDZV_ENDPOINT to HOST:PORT": {"PET_RDZV_ENDPOINT": ""},
    "PET_RDZV_ENDPOINT=train-0: expected HOST:PORT": {"PET_RDZV_ENDPOINT": "train-0"},
    "PET_MASTER_ADDR:PET_MASTER_PORT=train-0:": {"PET_RDZV_ENDPOINT": "", "PET_MASTER_ADDR": "train-0"},
    "PET_RDZV_CONF=join_timeout=soon: expected join_timeout=SECONDS": {"PET_RDZV_CONF": "join_timeout=soon"},
    "smpl-data prepare digits --out": {},
    "--batch-size 6": {"PET_NPROC_PER_NODE": "3"},
    "PET_NPROC_PER_NODE=0: expected a whole number of at least 1, or auto": {"PET_NPROC_PER_NODE": "0"},
    "PET_NPROC_PER_NODE=two: expected": {"PET_NNODES": "", "PET_NPROC_PER_NODE": "two"},
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_node_is_one_line(node: pytest.MonkeyPatch, text: str) -> None:
    for name, value in WRONG[text].items():
        node.setenv(name, value) if value else node.delenv(name)
    result = CliRunner().invoke(main, ["--out", "run", "--batch-size", "8"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert text in result.stderr


def test_a_node_knows_itself_from_the_variables_of_a_job_or_a_train_job(node: pytest.MonkeyPatch) -> None:
    assert find_nodes() == Nodes(2, 1, "train-0.train", 29400)
    node.delenv("PET_NODE_RANK")
    node.delenv("PET_RDZV_ENDPOINT")
    for name, value in {"JOB_COMPLETION_INDEX": "0", "PET_MASTER_ADDR": "fd00::1", "PET_MASTER_PORT": "29500"}.items():
        node.setenv(name, value)
    node.setenv("PET_NPROC_PER_NODE", "3")
    node.setenv("PET_RDZV_CONF", "read_timeout=5,join_timeout=1800")
    for empty in ("PET_NODE_RANK", "PET_RDZV_ENDPOINT"):
        node.setenv(empty, "")
    assert find_nodes() == Nodes(2, 0, "fd00::1", 29500, patience=1800)
    assert choose_processes(1, find_nodes()) == 3


@pytest.mark.parametrize("count", ["1", "", None])
def test_one_node_meets_nobody_and_runs_as_many_processes_as_it_is_told(
    node: pytest.MonkeyPatch, count: str | None
) -> None:
    node.delenv("PET_NNODES") if count is None else node.setenv("PET_NNODES", count)
    node.setattr(torch.cuda, "device_count", lambda: 0)
    for text, processes in {"3": 3, "": 1, "auto": 1, "gpu": 1, "cpu": 1}.items():
        node.setenv("PET_NPROC_PER_NODE", text)
        assert find_nodes() == ALONE
        assert choose_processes(None, find_nodes()) == processes


class Different(World):
    """A world whose second rank was told to train longer."""

    def any(self, flag: bool) -> bool:
        return flag

    def gather(self, value: Any) -> list[Any]:
        return [value, value | {"steps": 7}]


def test_ranks_that_were_told_different_things_are_told_so(home: Path) -> None:
    with pytest.raises(UsageError, match="steps is 6 on rank 0, 7 on rank 1") as caught:
        check_agreement(make_config(), home / "data" / "imagenet-10pct-seed0", Different(0, 2, CPU))
    assert caught.value.shared


def node_of(count: int, rank: int, port: int, patience: int = 1) -> RendezvousHandler:
    meeting = Meeting(Nodes(count, rank, "localhost", port, patience=patience), begin=lambda: None)
    about = RendezvousParameters(meeting.get_backend(), "", "run", count, count)
    return rendezvous_handler_registry.create_handler(about)


def cut_lines(port: int) -> None:
    """Shut this process's connections to a port."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError, IndexError):
            if entry.readlink().name.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as line:
                    if line.getpeername()[1] == port:
                        line.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def port() -> int:
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def refusal(node: RendezvousHandler) -> str:
    with pytest.raises(UserError) as caught:
        node.next_rendezvous()
    return str(caught.value)


@pytest.mark.slow
def test_a_node_that_waits_in_vain_says_for_whom(port: int) -> None:
    where = f"localhost:{port}"
    assert f"node 1 of 3 waited 1 s for node 0 at {where}, which does not answer" in refusal(node_of(3, 1, port))
    first = node_of(3, 0, port)
    assert f"node 0 of 3 waited 1 s for node 1, 2 at {where}" in refusal(first)
    assert f"node 1 of 3 waited 1 s for the others at {where}" in refusal(node_of(3, 1, port))
    assert f"node 0 cannot open port {port} for the other nodes" in refusal(node_of(3, 0, port))


def test_node_0_that_loses_its_own_store_hosts_it_all_the_same(port: int) -> None:
    first = node_of(1, 0, port)
    held = first.next_rendezvous()  # as torch's agent does, and with it the store
    cut_lines(port)
    with pytest.raises(RendezvousConnectionError):
        first.num_nodes_waiting()
    assert first.next_rendezvous().store is not held.store


@pytest.mark.slow
def test_two_nodes_of_one_number_are_refused(port: int) -> None:
    first = node_of(3, 0, port)
    said = [refusal(first)]
    twins = [node_of(3, 1, port, patience=3) for _ in range(2)]
    threads = [threading.Thread(target=lambda node=node: said.append(refusal(node))) for node in twins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("two nodes have the number 1" in text for text in said) == 1, said
