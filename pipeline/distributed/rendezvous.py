"""How nodes find each other: torchrun's static rendezvous, and three things that it lacks.

Before it, every node waits until all nodes have arrived. After it, every node checks that the others still run. At the
end, node 0 waits until the others have left its store.

Node 0 hosts a TCP store at its port while its command runs, and every node counts its arrivals there under its own
number. The run starts when all nodes have arrived once. When a node is lost, the commands of all nodes end, and
whatever runs them (a Kubernetes Job, Slurm, a shell loop) starts them again. So a store is used for one start of the
run only.
"""

import logging
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.rendezvous import RendezvousInfo, RendezvousParameters, rendezvous_handler_registry
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous
from torch.distributed.elastic.rendezvous.utils import parse_rendezvous_endpoint

from data_prep.system.errors import UsageError, UserError
from pipeline.distributed.node_env import NodeConfig
from pipeline.distributed.world import is_port_in_use

logger = logging.getLogger(__name__)

BACKEND = "smpl-static"
"""Name of this rendezvous in torchrun's registry."""
CONNECT_SECONDS = 10
"""Time limit for a connection to node 0."""
STORE_SECONDS = 30
"""Time limit for the exchange of ranks once all nodes are present."""
SILENT_SECONDS = 20
"""A node ends its ranks if node 0 has not answered for this long.

At the normal end of a run node 0 may end before the other nodes do, but never by so many seconds.
"""
NOTICE_SECONDS = 5
"""A node that has waited for this long logs what it waits for."""
LEAVE_SECONDS = 5
"""Time for which node 0, whose ranks have ended, waits for the other nodes; one that was stopped never leaves."""
LEFT = "left"
"""The key under which the store counts the nodes that have left it."""
IN_USE = "it is in use; end the program that listens there, or name another port in PET_RDZV_ENDPOINT on every node"
POLL_SECONDS = 0.5
"""Time between two looks at the store or at node 0's port."""


class NodeLostError(UserError):
    """Another node ended, vanished or was started again, so this one cannot go on."""


class NodeRendezvous(StaticTCPRendezvous):
    """The rendezvous that torchrun's agent uses for one start of a run.

    Args:
        nodes: the number of nodes, and which of them this one is.
        run_id: prefix of the keys that torchrun writes.
    """

    def __init__(self, nodes: NodeConfig, run_id: str) -> None:
        self.nodes, self.host = nodes, nodes.host if nodes.rank else "localhost"
        super().__init__(self.host, nodes.port, nodes.rank, nodes.count, run_id, STORE_SECONDS)
        self._answered = 0.0
        """When node 0 last answered, by ``time.monotonic``; 0 until all nodes are present."""

    def get_backend(self) -> str:
        """Return the name under which torchrun knows this rendezvous."""
        return BACKEND

    def next_rendezvous(self) -> RendezvousInfo:
        """Wait until all nodes are present.

        Raises:
            NodeLostError: a node was lost meanwhile.
            UsageError: another node has the number of this one.
            UserError: a node did not come in time, or node 0 cannot open its port.
        """
        self._store = store = self._join() if self.rank else self._host()
        self._wait_while(lambda: self._absent(store))
        self._answered = time.monotonic()
        return super().next_rendezvous()

    def num_nodes_waiting(self) -> int:
        """Return 0, since no node joins a run that has started; the agent calls this every second.

        Raises:
            NodeLostError: another node was lost.
        """
        if self.rank == 0 and self._store:
            self._check_arrivals(self._store)
        elif self._node_0_answers():
            self._answered = time.monotonic()
        elif time.monotonic() - self._answered > SILENT_SECONDS:
            raise self._silence()
        return 0

    def shutdown(self) -> bool:
        """Leave the store; torchrun's agent calls this when the ranks of this node have ended.

        Node 0 waits until the others have left, since its command closes the store. Without that it could leave
        torchrun's exit barrier and close the store while another node still reads the barrier there. The agent calls
        this in a ``finally``; if an error ended the ranks, the nodes met at no barrier, and none waits for another.
        """
        if self._store and self._answered and sys.exc_info()[0] is None:
            self._leave(self._store)
        return super().shutdown()

    def _leave(self, store: Store) -> None:
        if self.rank:
            if self._node_0_answers():
                store.add(LEFT, 1)
            return
        deadline = time.monotonic() + LEAVE_SECONDS
        while store.add(LEFT, 0) < self.nodes.count - 1 and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS / 10)

    def _host(self) -> TCPStore:
        """Return the store that node 0 hosts. Raises UserError if the port cannot be opened."""
        try:
            return self._connect(is_master=True)
        except RuntimeError as error:
            reason = IN_USE if is_port_in_use(error) else str(error).partition("\n")[0]
            raise UserError(f"node 0 cannot open port {self.nodes.port} for the other nodes: {reason}") from None

    def _join(self) -> TCPStore:
        """Return node 0's store after this node has arrived in it for the first time.

        If the store has counted this node before, an earlier command of this node was lost, and node 0 still runs the
        start of the run that it belonged to. Then wait until node 0 has noticed the loss, has ended and has been
        started again with an empty store.
        """
        while True:
            self._wait_while(lambda: "" if self._node_0_answers() else "node 0, which does not answer")
            store = self._connect()
            if store.add(_key(self.rank), 1) == 1:
                return store
            self._wait_while(lambda: "node 0, which runs without it, to end" if self._node_0_answers() else "")

    def _absent(self, store: Store) -> str:
        """Return the nodes that have not arrived yet, as text for a log line; an empty text if all are present.

        Raises:
            NodeLostError: a node was lost meanwhile.
            UsageError: another node arrived with the number of this one, which is alive.
        """
        if self.rank == 0:
            self._check_arrivals(store)
        elif not self._node_0_answers():
            raise self._silence()
        elif store.add(_key(self.rank), 0) > 1:
            raise UsageError(f"two nodes have the number {self.rank}; give each a PET_NODE_RANK of its own")
        absent = [str(rank) for rank in range(1, self.nodes.count) if not store.add(_key(rank), 0)]
        return f"node {', '.join(absent)}" if absent else ""

    def _check_arrivals(self, store: Store) -> None:
        """Raise NodeLostError, on node 0, if another node has arrived twice."""
        for rank in range(1, self.nodes.count):
            if store.add(_key(rank), 0) > 1:
                time.sleep(4 * POLL_SECONDS)  # so that a waiting node of that number sees it as well
                raise NodeLostError(f"node {rank} was lost and started again")

    def _silence(self) -> NodeLostError:
        return NodeLostError(f"node 0 at {self.nodes.endpoint} no longer answers")

    def _wait_while(self, missing: Callable[[], str]) -> None:
        """Call ``missing`` at intervals until it returns an empty text.

        This is a loop in Python and not a blocking call of the store, so that a signal can end the command.

        Args:
            missing: returns what is still missing, as text for the log and the error line.

        Raises:
            UserError: the text was not empty in time.
        """
        began, noticed = time.monotonic(), False
        while text := missing():
            waited = time.monotonic() - began
            if waited > self.nodes.join_timeout:
                timeout = f"waited {self.nodes.join_timeout} s at {self.nodes.endpoint} for {text}"
                raise UserError(f"{self.nodes} {timeout}; the same command tries again")
            if waited > NOTICE_SECONDS and not noticed:
                logger.info("%s waits at %s for %s", self.nodes, self.nodes.endpoint, text)
                noticed = True
            time.sleep(POLL_SECONDS)

    def _node_0_answers(self) -> bool:
        """Return whether node 0's port is open. A call to the store of a machine that vanished would never return."""
        try:
            with socket.create_connection((self.host, self.nodes.port), timeout=CONNECT_SECONDS):
                return True
        except OSError:
            return False

    def _connect(self, *, is_master: bool = False) -> TCPStore:
        timeout = timedelta(seconds=STORE_SECONDS)
        return TCPStore(self.host, self.nodes.port, is_master=is_master, wait_for_workers=False, timeout=timeout)


def register_rendezvous() -> None:
    """Let torchrun find this rendezvous under the name :data:`BACKEND`."""
    rendezvous_handler_registry.register(BACKEND, _create)


def _create(params: RendezvousParameters) -> NodeRendezvous:
    host, port = parse_rendezvous_endpoint(params.endpoint, default_port=0)
    rank, seconds = int(params.config["rank"]), int(params.config["join_timeout"])
    return NodeRendezvous(NodeConfig(params.max_nodes, rank, host, port, join_timeout=seconds), params.run_id)


def _key(rank: int) -> str:
    """Return the key under which the store counts the arrivals of a node."""
    return f"node-{rank}"
