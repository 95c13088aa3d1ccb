"""Two nodes train one run with the command and the environment of their Job; either may be lost and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file
from torch.distributed.elastic.rendezvous import RendezvousParameters, rendezvous_handler_registry

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import UsageError, UserError
from pipeline.distributed import rendezvous
from pipeline.distributed.launcher import choose_processes
from pipeline.distributed.node_env import SINGLE_NODE, NodeConfig, read_node_config
from pipeline.distributed.rendezvous import BACKEND, NodeLostError, NodeRendezvous, register_rendezvous
from pipeline.distributed.world import World
from pipeline.train import main
from pipeline.training.rank import check_agreement
from tests import ROOT
from tests.limits import LIMIT_S, wait_for
from tests.pipeline.conftest import CPU, make_config
from tests.pipeline.machines import Machine, Pods, kill_tree, last_output, two_machines
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


RETRIED = {1, -signal.SIGKILL}
"""Exit codes of pods that the Job's controller replaces and counts."""


@dataclass
class Cluster:
    """Two machines, the pods of the Job on them, and what the Job's controller does for these."""

    home: Path
    machines: list[Machine]
    pods: Pods
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    replaced: list[tuple[int, int | None]] = field(default_factory=list)
    """Number and exit code of each pod that failed and was replaced."""

    def start(self, *indexes: int) -> None:
        """Start pods, with the test's folders as their volumes and one process in place of eight GPUs."""
        for index in indexes:
            own = self.pods.variables(index) | {"PET_NPROC_PER_NODE": "1"}
            command = [*self.pods.command(), *SMALLER, "--out", OUT]
            variables = environment(self.home) | own
            self.running[index] = self.machines[index].start(command, variables, self.log(index), self.home)

    def lose(self, index: int) -> None:
        kill_tree(self.running[index])

    def replace_failed(self) -> None:
        """Start a successor of each pod that failed."""
        for index, process in list(self.running.items()):
            if process.poll() in RETRIED:
                self.replaced.append((index, process.poll()))
                self.start(index)

    def ends(self) -> list[int]:
        """Wait for both pods; return their exit codes."""
        return [self.running.pop(index).wait(timeout=LIMIT_S) for index in range(2)]

    def log(self, index: int) -> Path:
        return self.home / f"pod-{index}.log"

    def outputs(self) -> list[str]:
        return [self.log(index).read_text(errors="replace") for index in range(2)]

    def wait_for_steps(self) -> None:
        """Wait until the run has trained for some more steps, and replace pods that fail meanwhile."""
        target = steps_logged(self.home, OUT) + 10

        def reached() -> bool:
            self.replace_failed()
            return steps_logged(self.home, OUT) > target

        try:
            wait_for(reached)
        except AssertionError:
            raise AssertionError("\n".join(last_output(self.log(index)) for index in range(2))) from None


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
    assert sorted(cluster.replaced) == [(0, 1), (1, 1)], "both commands end and are started again"
    cluster.lose(1)
    cluster.wait_for_steps()
    assert sorted(cluster.replaced[2:]) == [(0, 1), (1, -signal.SIGKILL)]
    cluster.lose(0)  # and with it the store in which the nodes find each other
    cluster.wait_for_steps()
    assert sorted(cluster.replaced[4:]) == [(0, -signal.SIGKILL), (1, 1)]
    cluster.running[1].send_signal(signal.SIGTERM)
    assert cluster.ends() == [4, 4], cluster.outputs()
    assert [text.count("stopped and saved") for text in cluster.outputs()] == [1, 1]
    cluster.start(0, 1)
    assert cluster.ends() == [0, 0], cluster.outputs()
    first, second = cluster.outputs()
    assert "Traceback" not in first + second, first + second
    assert "error: a process was killed by signal 9; the same command, on every node, goes on" in second
    assert "error: the processes of another node ended; the same command, on every node, goes on" in first
    assert_same_model(home, OUT, load_file(home / "alone" / "model.safetensors"))
    late = {**cluster.pods.variables(1), "PET_NPROC_PER_NODE": "1", "SMPL_DATA": str(home / "data")}
    words = ["--recipe", str(home / "tiny.yaml"), "--set", "loader.workers=1", "--out", str(home / OUT)]
    result = CliRunner().invoke(main, words, env=late)
    assert result.exit_code == 0, "a node that is started again after the end prints the result"
    assert "test accuracy" in result.stdout


WRONG = {
    "one whole number": {"PET_NNODES": "two"},
    "the batch is divided among fixed nodes": {"PET_NNODES": "1:4"},
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
    assert read_node_config() == NodeConfig(2, 1, "train-0.train", 29400)
    node.delenv("PET_NODE_RANK")
    node.delenv("PET_RDZV_ENDPOINT")
    for name, value in {"JOB_COMPLETION_INDEX": "0", "PET_MASTER_ADDR": "fd00::1", "PET_MASTER_PORT": "29500"}.items():
        node.setenv(name, value)
    node.setenv("PET_NPROC_PER_NODE", "3")
    node.setenv("PET_RDZV_CONF", "read_timeout=5,join_timeout=1800")
    for empty in ("PET_NODE_RANK", "PET_RDZV_ENDPOINT"):
        node.setenv(empty, "")
    assert read_node_config() == NodeConfig(2, 0, "fd00::1", 29500, join_timeout=1800)
    assert choose_processes(1, read_node_config()) == 3


@pytest.mark.parametrize("count", ["1", "", None])
def test_one_node_waits_for_nobody_and_runs_the_number_of_processes_that_was_requested(
    node: pytest.MonkeyPatch, count: str | None
) -> None:
    node.delenv("PET_NNODES") if count is None else node.setenv("PET_NNODES", count)
    node.setattr(torch.cuda, "device_count", lambda: 0)
    for text, processes in {"3": 3, "": 1, "auto": 1, "gpu": 1, "cpu": 1}.items():
        node.setenv("PET_NPROC_PER_NODE", text)
        assert read_node_config() == SINGLE_NODE
        assert choose_processes(None, read_node_config()) == processes


class Different(World):
    """A world whose second rank has a configuration with more steps."""

    def any(self, flag: bool) -> bool:
        return flag

    def gather(self, value: Any) -> list[Any]:
        return [value, value | {"steps": 7}]


def test_ranks_with_different_configurations_are_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="steps is 6 on rank 0, 7 on rank 1") as caught:
        check_agreement(make_config(), home / "data" / "imagenet-10pct-seed0", Different(0, 2, CPU))
    assert caught.value.shared


def node_of(count: int, rank: int, port: int, join_timeout: int = 1) -> NodeRendezvous:
    """Return the rendezvous of a node, found by the name that torchrun uses."""
    register_rendezvous()
    settings = {"rank": str(rank), "join_timeout": str(join_timeout)}
    parameters = RendezvousParameters(BACKEND, f"localhost:{port}", "run", count, count, **settings)
    found = rendezvous_handler_registry.create_handler(parameters)
    assert isinstance(found, NodeRendezvous)
    return found


@pytest.fixture
def port() -> int:
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def refusal(node: NodeRendezvous) -> str:
    with pytest.raises(UserError) as caught:
        node.next_rendezvous()
    return str(caught.value)


@pytest.mark.slow
def test_a_node_that_waits_too_long_names_the_missing_nodes(port: int) -> None:
    where = f"waited 1 s at localhost:{port} for"
    assert f"node 1 of 3 {where} node 0, which does not answer" in refusal(node_of(3, 1, port))
    first = node_of(3, 0, port)
    assert f"node 0 of 3 {where} node 1, 2" in refusal(first)
    assert f"node 1 of 3 {where} node 2" in refusal(node_of(3, 1, port))
    said = refusal(node_of(3, 0, port))
    assert said.startswith(f"node 0 cannot open port {port} for the other nodes: it is in use; end the program that")
    assert "EADDRINUSE" not in said


@pytest.mark.slow
def test_a_node_that_arrives_twice_ends_the_others_and_waits_for_that(port: int) -> None:
    first = node_of(3, 0, port)
    assert "node 1, 2" in refusal(first)
    assert "node 2" in refusal(node_of(3, 1, port))
    assert first.num_nodes_waiting() == 0
    assert "for node 0, which runs without it, to end" in refusal(node_of(3, 1, port))
    with pytest.raises(NodeLostError, match="node 1 was lost and started again"):
        first.num_nodes_waiting()


@pytest.mark.slow
def test_two_nodes_with_the_same_number_are_refused(port: int) -> None:
    nodes = [node_of(3, rank, port, join_timeout=3) for rank in (0, 1, 1)]
    with ThreadPoolExecutor() as pool:
        texts = list(pool.map(refusal, nodes))
    assert sum("two nodes have the number 1" in text for text in texts) == 1, texts


def test_node_0_keeps_its_store_until_the_other_nodes_have_left(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(rendezvous, "LEAVE_SECONDS", LIMIT_S)
    nodes = [node_of(2, rank, port, join_timeout=int(LIMIT_S)) for rank in range(2)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(NodeRendezvous.next_rendezvous, nodes))
        first = pool.submit(nodes[0].shutdown)
        with pytest.raises(TimeoutError):
            first.result(timeout=0.2)
        assert nodes[1].shutdown()
        assert first.result(timeout=LIMIT_S)


@pytest.mark.parametrize(("seconds", "failed"), [(0.1, False), (LIMIT_S, True)])
def test_node_0_does_not_wait_for_a_node_that_was_lost(
    monkeypatch: pytest.MonkeyPatch, port: int, seconds: float, failed: bool
) -> None:
    monkeypatch.setattr(rendezvous, "LEAVE_SECONDS", seconds)
    nodes = [node_of(2, rank, port, join_timeout=int(LIMIT_S)) for rank in range(2)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(NodeRendezvous.next_rendezvous, nodes))
    began = time.monotonic()
    with suppress(NodeLostError):
        try:
            if failed:
                raise NodeLostError("node 1 was lost")
        finally:
            assert nodes[0].shutdown()
    assert time.monotonic() - began < LIMIT_S / 2


def test_a_node_notices_that_node_0_no_longer_answers(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    nodes = [node_of(2, rank, port, join_timeout=int(LIMIT_S)) for rank in range(2)]
    with ThreadPoolExecutor() as pool:
        places = list(pool.map(NodeRendezvous.next_rendezvous, nodes))
    assert [(place.rank, place.world_size) for place in places] == [(0, 2), (1, 2)]
    places[0].store.set("key", "value")
    assert places[1].store.get("key") == b"value"
    assert [node.num_nodes_waiting() for node in nodes] == [0, 0]
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert nodes[1].num_nodes_waiting() == 0, "node 0 may have ended because the run ends"
    monkeypatch.setattr(rendezvous, "SILENT_SECONDS", 0)
    with pytest.raises(NodeLostError, match=f"node 0 at localhost:{port} no longer answers"):
        nodes[1].num_nodes_waiting()


def refuse(*_: object, **__: object) -> None:
    raise OSError
