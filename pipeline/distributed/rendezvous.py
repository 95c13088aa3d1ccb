"""Where nodes meet: each has a seat of its own, and a round begins once every seat was taken anew.

torchrun's own rendezvous numbers the nodes by their addresses, takes a node for alive until its heartbeats have been
missing for a while, by the clocks of all, and is closed for good by the first agent that ends. A run of a fixed number
of numbered nodes needs none of this: who takes a seat again is a node that came back, and all begin anew with it.
"""

import json
import socket
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

import click
from torch.distributed import DistError, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.rendezvous import (
    RendezvousConnectionError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)

from data_prep.system.errors import UsageError, UserError
from pipeline.distributed.node_env import Nodes

STORE_SECONDS = 30
"""What a node has, once all sit, to tell the others about its ranks."""
KNOCK_SECONDS = 10
"""After them node 0 is taken for gone."""
LOOK_SECONDS = 1
"""Between two looks at the seats while the ranks run."""
POLL_SECONDS = 0.2
SILENT_SECONDS = 5
"""After them a node that waits says so."""
FREE = "free"


class Meeting(RendezvousHandler):
    """The rendezvous of all nodes of a run, for as long as this command lives; node 0 hosts its store.

    Args:
        nodes: who meets.
        begin: called whenever this node begins to wait for the others; none of its ranks runs then.
    """

    def __init__(self, nodes: Nodes, begin: Callable[[], None]) -> None:
        self.nodes, self.begin = nodes, begin
        self.met = time.monotonic()
        """When the last round began."""
        self._backend = f"seats-{id(self)}"  # torch's registry holds one handler under a name, for ever
        self._params: RendezvousParameters
        self._server: Store | None = None  # of node 0; for the life of this command, since its port is taken until then
        self._store: Store | None = None
        self._address: tuple[str, int] | None = None  # of node 0 when its store was opened
        self._looked = 0.0
        self._round: tuple[int, int] = (0, 0)  # its number, and how often seats had been taken by then
        self._seated: list[str] = []  # node 0: the tickets of the last round
        rendezvous_handler_registry.register(self._backend, self._enter)

    def next_rendezvous(self) -> RendezvousInfo:
        """Wait for all nodes, node 0 among them if it is gone; return the round that has begun.

        Raises:
            UserError: some node did not come in time.
            UsageError: two nodes have the same number.
        """
        self.begin()
        store = self._meet()
        self.met = time.monotonic()
        address = self._params.local_addr or (self.nodes.host if self.nodes.rank == 0 else None)
        info = RendezvousStoreInfo.build(self.nodes.rank, store, address)
        return RendezvousInfo(store, self.nodes.rank, self.nodes.count, info)

    def num_nodes_waiting(self) -> int:
        """Return how many seats were taken since the round began.

        Raises:
            RendezvousConnectionError: node 0 is gone.
        """
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return 0
        try:
            arrivals = int(self._open().add("arrivals", 0))
        except (OSError, DistError) as error:
            self._leave()
            raise RendezvousConnectionError(str(error)) from error
        self._looked = time.monotonic()
        return arrivals - self._round[1]

    def get_backend(self) -> str:
        """Return the name under which torchrun finds this."""
        return self._backend

    def get_run_id(self) -> str:
        return str(self._params.run_id)

    def is_closed(self) -> bool:
        """Never: a node that ended may come back."""
        return False

    def set_closed(self) -> None:
        """Do nothing: a node that ends leaves the others to wait for it."""

    def shutdown(self) -> bool:
        """Do nothing: the next agent of this command uses the same store."""
        return True

    def _enter(self, params: RendezvousParameters) -> RendezvousHandler:
        self._params = params
        return self

    def _meet(self) -> Store:
        """Take a seat, and another one if the store is lost, until a round begins; return the store of the round."""
        began, spoken, ticket = time.monotonic(), False, ""
        while (waited := time.monotonic() - began) < self.nodes.patience:
            try:
                ticket = ticket or self._sit()
                if call := self._call(ticket):
                    self._round = (call[0], call[1])
                    return PrefixStore(f"round-{call[0]}", self._open())
            except (OSError, DistError) as error:
                self._check_port(error)
                self._leave()
                ticket = ""
            if waited > SILENT_SECONDS and not spoken:
                spoken = True
                click.echo(f"{self._here()} waits for {self._missing()}", err=True)
            time.sleep(POLL_SECONDS)
        waited_for = f"waited {self.nodes.patience} s for {self._missing()}"
        raise UserError(f"{self._here()} {waited_for}; the same command tries again")

    def _open(self) -> Store:
        """Return the store of the run, hosting it on node 0. Raises OSError or DistError while there is none."""
        if self.nodes.rank:
            self._knock()
        elif self._server is None:
            self._server = self._connect("localhost", is_master=True)
        if self._store is None:
            store = self._connect(self.nodes.host if self.nodes.rank else "localhost")
            self._store = PrefixStore(self._params.run_id, store)
        return self._store

    def _connect(self, host: str, *, is_master: bool = False) -> Store:
        timeout = timedelta(seconds=STORE_SECONDS)
        return TCPStore(host, self.nodes.port, is_master=is_master, wait_for_workers=False, timeout=timeout)

    def _knock(self) -> None:
        """Raise OSError if node 0 is gone; torch would ask it for a quarter of an hour, deaf to signals."""
        address = self._address or (self.nodes.host, self.nodes.port)
        with socket.create_connection(address, timeout=KNOCK_SECONDS) as line:
            self._address = line.getpeername()[:2]

    def _leave(self) -> None:
        """Give the store up; node 0 may come back at another address."""
        self._store = self._address = None

    def _sit(self) -> str:
        """Take this node's seat; return the ticket that is now on it."""
        store, ticket = self._open(), uuid.uuid4().hex
        store.add("arrivals", 1)  # before the seat, so that a round with this ticket counts it
        store.set(self._seat(self.nodes.rank), ticket)
        return ticket

    def _call(self, ticket: str) -> list[int] | None:
        """Return number and arrivals of the round that a ticket is for, or None; node 0 calls it when all sit.

        Raises:
            UsageError: somebody else took this node's seat.
        """
        store = self._open()
        if self.nodes.rank == 0 and not self._empty():
            self._seated = [self._holder(rank) for rank in range(self.nodes.count)]
            call = json.dumps([self._round[0] + 1, store.add("arrivals", 0)])
            for seated in self._seated:
                store.set(f"call-{seated}", call)
        if store.check([f"call-{ticket}"]):
            return list(json.loads(store.get(f"call-{ticket}")))
        if self._holder(self.nodes.rank) != ticket:
            raise UsageError(f"two nodes have the number {self.nodes.rank}; give each a PET_NODE_RANK of its own")
        return None

    def _empty(self) -> list[int]:
        """Return the nodes that have not come since the last round."""
        absent = {FREE, *self._seated}
        return [rank for rank in range(self.nodes.count) if self._holder(rank) in absent]

    def _holder(self, rank: int) -> str:
        """Return the ticket on a seat; unlike ``get``, this does not wait for one."""
        return str(self._open().compare_set(self._seat(rank), "", FREE).decode())

    def _seat(self, rank: int) -> str:
        return f"seat-{rank}"

    def _here(self) -> str:
        return f"node {self.nodes.rank} of {self.nodes.count}"

    def _missing(self) -> str:
        """Return whom this node waits for, and where."""
        where = f"{self.nodes.host}:{self.nodes.port}"
        if self._store is None:
            return f"node 0 at {where}, which does not answer"
        if self.nodes.rank:
            return f"the others at {where}"
        return f"node {', '.join(map(str, self._empty()))} at {where}"

    def _check_port(self, error: Exception) -> None:
        """Raise UserError if node 0 cannot host the store: waiting would not help."""
        if self.nodes.rank == 0 and self._server is None:
            raise UserError(f"node 0 cannot open port {self.nodes.port} for the other nodes: {error}") from None
