"""Which of several nodes this is, read from the environment variables that torchrun reads as well."""

import os
from dataclasses import dataclass, field

from data_prep.system.errors import UsageError

JOIN_TIMEOUT = 600
"""Default of the seconds that a node waits for the others."""
PER_GPU = ("", "auto", "gpu", "cpu")
"""Values of PET_NPROC_PER_NODE that mean one process on each GPU, or one process where there is no GPU."""


@dataclass(frozen=True)
class NodeConfig:
    """The number of nodes (machines or pods) of a run, and which of them this one is."""

    count: int = 1
    rank: int = 0
    """Number of this node, from 0. Node 0 hosts the store in which the nodes find each other, and runs rank 0."""
    host: str = ""
    """Name or address of node 0."""
    port: int = 0
    processes: int | None = field(default=None, compare=False)
    """Number of processes on this node; None means one on each GPU.

    Comparisons of two configurations ignore it, so ``nodes == SINGLE_NODE`` asks only whether there is one node.
    """
    join_timeout: int = JOIN_TIMEOUT
    """Seconds that a node waits for the others."""

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"node {self.rank} of {self.count}"


SINGLE_NODE = NodeConfig()
"""The configuration of a run on this machine alone."""


def read_node_config() -> NodeConfig:
    """Return the nodes of a run as the environment variables describe them.

    The result equals :data:`SINGLE_NODE` if they describe one node or none, and in a process that is a rank already,
    since a rank starts no others. A variable that is empty counts as one that is not set.

    Raises:
        UsageError: a variable is missing or wrong.
    """
    if "RANK" in os.environ:
        return SINGLE_NODE
    processes = _read_processes()
    if _variable("PET_NNODES") in ("", "1"):
        return NodeConfig(processes=processes)
    count = _read_number("PET_NNODES", 1, 1 << 16)
    name = "PET_NODE_RANK" if _variable("PET_NODE_RANK") else "JOB_COMPLETION_INDEX"
    if not _variable(name):
        raise UsageError(f"PET_NNODES={count}: set PET_NODE_RANK, or JOB_COMPLETION_INDEX, to the number of this node")
    host, port = _read_endpoint(count)
    return NodeConfig(count, _read_number(name, 0, count - 1), host, port, processes, _read_join_timeout())


def _read_processes() -> int | None:
    text = _variable("PET_NPROC_PER_NODE")
    if text in PER_GPU:
        return None
    if not (text.isdecimal() and int(text)):
        raise UsageError(f"PET_NPROC_PER_NODE={text}: expected a whole number of at least 1, or auto, gpu or cpu")
    return int(text)


def _read_endpoint(count: int) -> tuple[str, int]:
    """Return host and port of node 0."""
    name, text = "PET_RDZV_ENDPOINT", _variable("PET_RDZV_ENDPOINT")
    if not text and _variable("PET_MASTER_ADDR"):
        name = "PET_MASTER_ADDR:PET_MASTER_PORT"
        text = f"{_variable('PET_MASTER_ADDR')}:{_variable('PET_MASTER_PORT')}"
    if not text:
        raise UsageError(f"PET_NNODES={count}: set PET_RDZV_ENDPOINT to HOST:PORT of node 0, where the nodes meet")
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise UsageError(f"{name}={text}: expected HOST:PORT of node 0, such as trainer-0.trainer:29400")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _read_join_timeout() -> int:
    """Return ``join_timeout`` of PET_RDZV_CONF, in seconds; its other settings are not used."""
    text = _variable("PET_RDZV_CONF")
    options = dict(option.strip().partition("=")[::2] for option in text.split(","))
    seconds = options.get("join_timeout", str(JOIN_TIMEOUT))
    if not (seconds.isdecimal() and int(seconds)):
        raise UsageError(f"PET_RDZV_CONF={text}: expected join_timeout=SECONDS")
    return int(seconds)


def _read_number(name: str, least: int, most: int) -> int:
    text = _variable(name)
    if text.isdecimal() and least <= int(text) <= most:
        return int(text)
    if name == "PET_NNODES":
        raise UsageError(f"{name}={text}: expected one whole number, since the batch is divided among fixed nodes")
    raise UsageError(f"{name}={text}: expected a whole number from {least} to {most}")


def _variable(name: str) -> str:
    return os.environ.get(name, "")
