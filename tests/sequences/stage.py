# SPDX-License-Identifier: Apache-2.0
"""A node on which events become packets: the router, the real dataplanes and conntrack clean-up, with nobody in between."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

import msgspec

from kproxy.dataplanes.contract import Applied, Committed, Dataplane
from kproxy.kernel.conntrack import Conntrack
from kproxy.objects.events import Event, Host, HostAddress, Kind, Synced
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.routing.stale import cleanup
from kproxy.table.errors import KernelError
from kproxy.table.routing_table import Changes
from kproxy.table.terms import Family, Mode, Protocol
from tests.conformance.packets.dial import Dial, Met, Outcome
from tests.conformance.packets.diallers import dialler_of
from tests.conformance.packets.flows import enough
from tests.conformance.packets.node import LOCAL, Node, playing_node
from tests.conformance.packets.program import open_dataplanes
from tests.sequences.objects import node_object

THIS: Final = "this-node"
NODE4, NODE6 = "192.168.0.2", "2001:db8::1"
POD, OUTSIDE = "10.0.0.2", "203.0.113.2"
PODS_HERE: Final = [POD, "10.0.0.3", "10.180.0.1", "10.180.0.2", "10.180.0.3", "fd00:10::2"]
MODE: Final = ContextVar("MODE", default=Mode.NFTABLES)  # set by the fixture ``any_mode``
SETTINGS: Final = Settings(node=THIS, mode=Mode.NFTABLES, cluster_cidrs=("10.0.0.0/8", "fd00:10::/32"))


class Stage:
    """The node under test. Make it with :func:`stage`."""

    def __init__(self, node: Node, settings: Settings) -> None:
        self.node = node
        self.settings = settings
        self.dialler = dialler_of(settings.mode, node)
        self.router = Router(self.settings)
        self.planes: list[Dataplane] = []
        self.committed: dict[Family, Committed] = {}
        self.conntrack = Conntrack()
        self.start_dataplanes()

    def start_dataplanes(self) -> None:
        """Open the dataplanes and read back what the kernel holds, as a process that starts does."""
        self.planes = open_dataplanes(self.settings)
        for plane in self.planes:
            plane.probe()
            self.committed[plane.family] = plane.read_back()

    def close(self) -> None:
        """Give back what the dataplanes hold; the kernel keeps its rules."""
        for plane in self.planes:
            plane.close()
        self.planes = []

    def restart(self, *events: Event) -> int:
        """Start again with nothing in memory and be told everything anew. Returns how many kernel operations it took."""
        self.close()
        self.router = Router(self.settings)
        self.start_dataplanes()
        return self.tell(*events)

    def tell(self, *events: Event) -> int:
        """Take in events and carry what follows from them into the kernel. Returns the number of kernel operations."""
        changes = self.router.apply(events)
        return 0 if changes is None else self.carry(changes)

    def carry(self, changes: Changes) -> int:
        """Commit changes in both families, settled, and clear stale flows."""
        operations = 0
        for plane in self.planes:
            transaction = plane.compile(self.committed[plane.family], changes)
            operations += transaction.operations
            answer = plane.commit(transaction)
            if not isinstance(answer, Applied):
                raise KernelError(answer.words)
            plane.settle()
            self.committed[plane.family] = answer.committed
            differences = plane.verify(answer.committed, changes.after)
            if differences:
                raise KernelError(differences[0].what)
        stale = cleanup(changes.before, changes.after, changes.services)
        for family in Family:
            self.conntrack.delete_stale(family, stale.serving, stale.gone)
        return operations

    def dial(
        self,
        address: str,
        port: int = 80,
        *,
        source: str = POD,
        times: int = 1,
        protocol: Protocol = Protocol.TCP,
        source_port: int = 0,
    ) -> list[Outcome]:
        """Dial some times from a Pod here, from the node (its own address) or from outside."""
        where = "pods0" if source in PODS_HERE else LOCAL if source in self.node.addresses else "eth0"
        outcomes = self.dialler.dial([Dial(source, where, address, port, protocol, source_port)] * times)
        odd = [outcome.odd for outcome in outcomes if outcome.odd]
        if odd:
            raise AssertionError(f"{source} to {address}:{port}: {odd[0]}")
        return outcomes

    def met(
        self, address: str, port: int = 80, *, source: str = POD, choices: int = 3, protocol: Protocol = Protocol.TCP
    ) -> set[str]:
        """Return everything that dials of an address meet: endpoints, or REJECT, DROP, NONE."""
        outcomes = self.dial(address, port, source=source, times=enough(choices), protocol=protocol)
        return {outcome.endpoint if outcome.met is Met.ENDPOINT else outcome.met.value for outcome in outcomes}

    def refused(self) -> int:
        """Return how many packets met reject or drop so far."""
        return sum(sum(plane.counters().refused.values()) for plane in self.planes)


@contextlib.contextmanager
def stage(*events: Event, settings: Settings | None = None) -> Iterator[Stage]:
    """Set up a node that knows itself and these events, in force: in the mode that the test runs in, unless it says how."""
    with playing_node([NODE4, NODE6], {"pods0": PODS_HERE}, "eth0") as node:
        on = Stage(node, settings or msgspec.structs.replace(SETTINGS, mode=MODE.get()))
        try:
            on.tell(*cluster(*events))
            yield on
            for plane in on.planes:
                plane.remove()
        finally:
            on.close()


def cluster(*events: Event) -> list[Event]:
    """Return everything a source tells at start: the node, its addresses, these events, and that this is all."""
    addresses = tuple(HostAddress("eth0", address, 128 if ":" in address else 32) for address in (NODE4, NODE6))
    return [node_object(THIS, [NODE4, NODE6]), Host(addresses), *events, *(Synced(kind) for kind in Kind)]
