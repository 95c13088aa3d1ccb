"""Two simulated machines: network namespaces with an address each, in which the commands of pods run."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

HOSTS = Path("/etc/netns")
"""`ip netns exec NAME` shows a process /etc/netns/NAME/hosts as /etc/hosts."""


@dataclass(frozen=True)
class Machine:
    """A network namespace that only its neighbors can reach."""

    name: str
    address: str

    def start(self, command: list[str], variables: dict[str, str], log: Path, folder: Path) -> subprocess.Popen[bytes]:
        """Start a command on this machine; its output is appended to ``log``."""
        words = ["ip", "netns", "exec", self.name, *command]
        with log.open("ab") as file:
            return subprocess.Popen(words, cwd=folder, env=variables, stdout=file, stderr=subprocess.STDOUT)


@contextmanager
def two_machines(name: str, pods: list[str]) -> Iterator[list[Machine]]:
    """Yield two machines that know the names of both pods; skip the test where namespaces cannot be created."""
    if not shutil.which("ip"):
        pytest.skip("no network namespaces here: iproute2 is not installed")
    machines = [Machine(f"{name}-{os.getpid()}-{rank}", f"10.77.0.{rank + 1}") for rank in range(2)]
    try:
        _connect(*machines)
        for mine in machines:
            own = [f"127.0.0.1 localhost\n{mine.address} {socket.gethostname()}\n"]
            lines = own + [f"{other.address} {pod}\n" for other, pod in zip(machines, pods, strict=True)]
            _write_hosts(mine, "".join(lines))
        yield machines
    finally:
        for machine in machines:
            subprocess.run(["ip", "netns", "delete", machine.name], check=False, capture_output=True)
            (HOSTS / machine.name / "hosts").unlink(missing_ok=True)
            with suppress(OSError):
                (HOSTS / machine.name).rmdir()


def _write_hosts(machine: Machine, text: str) -> None:
    try:
        (HOSTS / machine.name).mkdir(parents=True)
        (HOSTS / machine.name / "hosts").write_text(text)
    except OSError as error:
        pytest.skip(f"no names for network namespaces here: {error}")


def _connect(left: Machine, right: Machine) -> None:
    lines = [f"netns add {left.name}", f"netns add {right.name}"]
    lines += [f"link add eth0 netns {left.name} type veth peer name eth0 netns {right.name}"]
    for machine in (left, right):
        lines += [f"-n {machine.name} address add {machine.address}/24 dev eth0"]
        lines += [f"-n {machine.name} link set {device} up" for device in ("lo", "eth0")]
    for line in lines:
        done = subprocess.run(["ip", *line.split()], check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no network namespaces here: ip {line}: {done.stderr.strip()}")


@dataclass(frozen=True)
class Pods:
    """The pods of an indexed Job that train one run, as torchrun's environment variables say."""

    job: dict[str, Any]

    @classmethod
    def of(cls, manifest: Path) -> "Pods":
        """Find them in a manifest."""
        jobs = [part for part in yaml.safe_load_all(manifest.read_text()) if part and part["kind"] == "Job"]
        return cls(next(job for job in jobs if "PET_NNODES" in str(job)))

    @property
    def container(self) -> dict[str, Any]:
        return next(c for c in self.job["spec"]["template"]["spec"]["containers"] if "PET_NNODES" in str(c))

    @property
    def names(self) -> list[str]:
        """The host names of the pods."""
        name, service = self.job["metadata"]["name"], self.job["spec"]["template"]["spec"]["subdomain"]
        return [f"{name}-{index}.{service}" for index in range(self.job["spec"]["completions"])]

    def command(self) -> list[str]:
        """Return the command that the entry point of the image runs for the container's arguments."""
        words = [str(word) for word in self.container["args"]]
        assert words[0].startswith("-"), words
        return [sys.executable, "-m", "pipeline.train", *words]

    def variables(self, index: int) -> dict[str, str]:
        """Return the environment of a pod."""
        fields = {
            "metadata.name": f"{self.names[index].split('.')[0]}-x7k2p",
            "metadata.annotations['batch.kubernetes.io/job-completion-index']": str(index),
            "metadata.labels['batch.kubernetes.io/job-completion-index']": str(index),
        }
        found = {"JOB_COMPLETION_INDEX": str(index)}
        for entry in self.container["env"]:
            source = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            found[entry["name"]] = fields[source] if source else str(entry["value"])
        return found


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and all processes that it started, as the loss of its machine does."""
    with suppress(psutil.NoSuchProcess):
        command = psutil.Process(process.pid)
        for one in [command, *command.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()


def last_output(log: Path) -> str:
    """Return the end of a command's output, for the message of a failed assertion."""
    return f"{shlex.quote(str(log))}:\n{log.read_text(errors='replace')[-3000:]}"
