"""Checks of the host names by which processes and nodes find each other."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from data_prep.system.errors import UsageError
from pipeline.distributed.node_env import SINGLE_NODE, read_node_config
from pipeline.doctor.check import CheckOptions, CheckResult, Level
from pipeline.doctor.machine import gpus


def host_name(_: CheckOptions) -> Iterator[CheckResult]:
    """Check that the name of this machine resolves to it: torchrun's processes use it to reach each other."""
    name, host, own = "host name", socket.gethostname(), os.environ.get("PET_LOCAL_ADDR")
    if own:
        problem = None if _is_own(own) else f"PET_LOCAL_ADDR={own} is not an address of this machine"
    else:
        problem = None if _is_own(host) else f"{host!r} does not resolve to an address of this machine"
    if problem is None:
        yield CheckResult(name, Level.OK, f"{own or host} is this machine")
        return
    remedy = f"add {host} to /etc/hosts; or, on a single machine, set PET_LOCAL_ADDR=127.0.0.1 GLOO_SOCKET_IFNAME=lo"
    several = gpus() > 1 or (os.environ.get("PET_NNODES") or "1") != "1"
    yield CheckResult(
        name,
        Level.FAILURE if several else Level.WARNING,
        f"{problem}: several processes would not find each other",
        remedy,
    )


def nodes(_: CheckOptions) -> Iterator[CheckResult]:
    """Check the environment variables that describe several nodes, and the address of node 0."""
    try:
        found = read_node_config()
    except UsageError as error:
        yield CheckResult("nodes", Level.FAILURE, *str(error).split(": ", 1))
        return
    if found == SINGLE_NODE:
        return
    place = f"node {found.rank} of {found.count}, which meet at {found.host}:{found.port}"
    if not _addresses(found.host):
        remedy = (
            "give it a DNS entry (a headless Service with publishNotReadyAddresses), or name the IP address of node 0"
        )
        yield CheckResult("nodes", Level.FAILURE, f"{place}: {found.host} does not resolve", remedy)
    else:
        yield CheckResult("nodes", Level.OK, place)


def _is_own(host: str) -> bool:
    """Return whether a name resolves to an address on which this machine can listen."""
    for family, address in _addresses(host):
        with closing(socket.socket(family, socket.SOCK_STREAM)) as listener:
            try:
                listener.bind((address[0], 0, *address[2:]))
            except OSError:
                continue
            return True
    return False


def _addresses(host: str) -> list[tuple[int, Any]]:
    """Return the families and addresses of a name; none if it does not resolve."""
    try:
        return [(entry[0], entry[4]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except OSError:
        return []
