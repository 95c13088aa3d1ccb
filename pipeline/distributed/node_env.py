"""Which of several nodes this is, from the environment variables that torchrun reads as well."""

import os
from dataclasses import dataclass, field

from data_prep.system.errors import UsageError

PATIENCE = 600
EACH_GPU = ("", "auto", "gpu", "cpu")
"""What torchrun takes for a number of processes, and is here one on each GPU, or one where there is none."""


@dataclass(frozen=True)
class Nodes:
    """The machines, or pods, of a run, and the place of this one among them."""

    count: int = 1
    rank: int = 0
    """Of this node, from 0; node 0 is where all meet, and where rank 0 runs."""
    host: str = ""
    """Name or address of node 0."""
    port: int = 0
    processes: int | None = field(default=None, compare=False)
    """Ranks on this node; None for one on each GPU. A node that runs several is :data:`ALONE` as well."""
    patience: int = PATIENCE
    """Seconds that a node waits for the others."""


ALONE = Nodes()


def find_nodes() -> Nodes:
    """Return the nodes that the environment tells of; where it tells of one node, or this is a rank, :data:`ALONE`.

    A variable that is empty counts as one that is not set.

    Raises:
        UsageError: a variable is missing or wrong.
    """
    if "RANK" in os.environ:
        return ALONE
    processes = _processes()
    if _variable("PET_NNODES") in ("", "1"):
        return Nodes(processes=processes)
    count = _number("PET_NNODES", 1, 1 << 16)
    name = "PET_NODE_RANK" if _variable("PET_NODE_RANK") else "JOB_COMPLETION_INDEX"
    if not _variable(name):
        raise UsageError(f"PET_NNODES={count}: set PET_NODE_RANK, or JOB_COMPLETION_INDEX, to the number of this node")
    host, port = _endpoint(count)
    return Nodes(count, _number(name, 0, count - 1), host, port, processes, _patience())


def _processes() -> int | None:
    """Return the number of ranks that is asked of this node, None for one on each GPU."""
    text = _variable("PET_NPROC_PER_NODE")
    if text in EACH_GPU:
        return None
    if not (text.isdecimal() and int(text)):
        raise UsageError(f"PET_NPROC_PER_NODE={text}: expected a whole number of at least 1, or auto, gpu or cpu")
    return int(text)


def _endpoint(count: int) -> tuple[str, int]:
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


def _patience() -> int:
    """Return the join timeout, of all that PET_RDZV_CONF may say the one that is used here."""
    text = _variable("PET_RDZV_CONF")
    options = dict(option.strip().partition("=")[::2] for option in text.split(","))
    seconds = options.get("join_timeout", str(PATIENCE))
    if not (seconds.isdecimal() and int(seconds)):
        raise UsageError(f"PET_RDZV_CONF={text}: expected join_timeout=SECONDS")
    return int(seconds)


def _number(name: str, least: int, most: int) -> int:
    """Return the whole number that a variable holds."""
    text = _variable(name)
    if text.isdecimal() and least <= int(text) <= most:
        return int(text)
    if name == "PET_NNODES":
        raise UsageError(f"{name}={text}: expected one whole number: the batch is cut for just so many nodes")
    raise UsageError(f"{name}={text}: expected a whole number from {least} to {most}")


def _variable(name: str) -> str:
    return os.environ.get(name, "")
