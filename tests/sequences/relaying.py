# SPDX-License-Identifier: Apache-2.0
"""A client, a node that relays and a server in a row, with real sockets at both ends."""

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from kproxy.dataplanes.contract import Applied, Committed, Dataplane
from kproxy.dataplanes.userspace.dataplane import UserspaceDataplane
from kproxy.dataplanes.userspace.layout import Options
from kproxy.dataplanes.userspace.opening import open_userspace
from kproxy.lab.host import Host
from kproxy.lab.namespaces import inside
from kproxy.table.addresses import family_of, join_port
from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Frontend
from kproxy.table.node import FamilyFacts, NodeFacts, NodePortAddresses
from kproxy.table.route import Policy, Route, RouteKey, Verdict
from kproxy.table.routing_table import RoutingTable, ServiceRoutes
from kproxy.table.terms import Action, Family, FrontendKind, Method, Protocol
from tests.bed import Bed
from tests.unit.dataplanes.tables import changes

PATIENCE: Final = 10.0
ONE: Final = Options(workers=1)
CLIENT, NODE, HERE = "172.20.0.2", "172.20.0.1", "172.21.0.1"
_KINDS: Final = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}
_BALANCED: Final = Policy(*[Verdict(Action.BALANCE)] * 4)
_EVERYWHERE: Final = FamilyFacts(nodeports=NodePortAddresses(every=True, loopback=True))


def opened(host: Host, protocol: Protocol, address: str) -> socket.socket:
    """Open a socket of a protocol inside a host, for an address's family."""
    with inside(host.namespace):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, _KINDS[protocol])
    made.settimeout(PATIENCE)
    return made


class Server:
    """Somebody at an address who says its name to whoever asks, and remembers who that was and what was said."""

    def __init__(self, host: Host, address: str, port: int, protocol: Protocol) -> None:
        self.key = join_port(address, port)
        self.asked: list[tuple[str, bytes]] = []
        self._listener = opened(host, protocol, address)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._open = {self._listener}
        if protocol is Protocol.TCP:
            self._listener.listen()
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name=self.key)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([*self._open, self._stopped], [], [])
            if self._stopped in ready:
                return
            for one in ready:
                if one is self._listener and one.type == socket.SOCK_STREAM:
                    self._open.add(one.accept()[0])
                else:
                    self._answer(one)

    def _answer(self, one: socket.socket) -> None:
        try:
            said, peer = one.recvfrom(4096)
            peer = peer or one.getpeername()
        except OSError:
            said, peer = b"", None
        if peer and said:
            self.asked.append((peer[0], said))
            one.sendto(self.key.encode(), peer) if one is self._listener else one.send(self.key.encode())
        elif one is not self._listener:
            self._open.discard(one)
            one.close()

    def close(self) -> None:
        """Be there no more."""
        self._stop.send(b".")
        self._thread.join()
        for one in (*self._open, self._stop, self._stopped):
            one.close()


class Relaying:
    """The bed with dataplanes in force on its node. Make it with :func:`relaying`."""

    def __init__(self, open_dataplanes: Callable[[], Sequence[Dataplane]]) -> None:
        self.bed = Bed()
        self.client, self.node, self.server = self.bed.client, self.bed.node, self.bed.server
        self.node.ip("route add default via 172.21.0.2")  # so that its own processes have a way to the ClusterIPs
        self.table: RoutingTable | None = None
        self._committed: dict[int, Committed] = {}
        with inside(self.node.namespace):
            self.planes = open_dataplanes()
            for plane in self.planes:
                plane.probe()
                self._committed[id(plane)] = plane.read_back()
        self._servers = contextlib.ExitStack()

    def serve(self, host: Host, address: str, port: int = 8080, protocol: Protocol = Protocol.TCP) -> Server:
        """Have somebody at an address of a host."""
        server = Server(host, address, port, protocol)
        self._servers.callback(server.close)
        return server

    def tell(self, *routes: Route, settled: bool = True) -> None:
        """Put these Services in force, and no others; unless ``settled``, with packets still in flight."""
        services = {route.key.service: ServiceRoutes(route.key.service, routes=(route,)) for route in routes}
        after = RoutingTable(NodeFacts("here", _EVERYWHERE, _EVERYWHERE), services)
        for plane in self.planes:
            self.commit(plane, self.table, after, settled=settled)
        self.table = after

    def commit(self, plane: Dataplane, before: RoutingTable | None, after: RoutingTable, *, settled: bool = True) -> None:
        """Commit a table, settled if asked to, and verified."""
        with inside(self.node.namespace):
            answer = plane.commit(plane.compile(self._committed[id(plane)], changes(before, after)))
            assert isinstance(answer, Applied), answer
            if settled:
                plane.settle()
            self._committed[id(plane)] = answer.committed
            assert list(plane.verify(answer.committed, after)) == []

    def stop_relay(self) -> None:
        """Let the relay die."""
        for plane in self.planes:
            assert isinstance(plane, UserspaceDataplane)
            plane.relay.stop()

    def repair(self) -> None:
        """Read back and commit anew, as a daemon does when it has noticed that somebody else was there."""
        assert self.table is not None
        for plane in self.planes:
            with inside(self.node.namespace):
                self._committed[id(plane)] = plane.read_back()
            self.commit(plane, None, self.table)

    def dial(self, host: Host, address: str, port: int) -> socket.socket:
        """Connect from a host. Raises OSError."""
        dialling = opened(host, Protocol.TCP, address)
        self._servers.callback(dialling.close)
        dialling.connect((address, port))
        return dialling

    def ask(self, host: Host, address: str, port: int, protocol: Protocol = Protocol.TCP) -> str:
        """Return the name of whoever answers a dial."""
        if protocol is Protocol.TCP:
            return said(self.dial(host, address, port))
        asking = opened(host, protocol, address)
        with asking:
            asking.connect((address, port))  # an answer from elsewhere would not be heard
            return said(asking)

    def close(self) -> None:
        """Take everything down."""
        self._servers.close()
        with inside(self.node.namespace):
            for plane in self.planes:
                plane.close()
        self.bed.close()


def said(connection: socket.socket, words: bytes = b"who") -> str:
    """Ask over a connection and return the answer."""
    connection.send(words)
    return connection.recv(100).decode()


@contextlib.contextmanager
def relaying(
    open_dataplanes: Callable[[], Sequence[Dataplane]] = lambda: open_userspace(Family, ONE),
) -> Iterator[Relaying]:
    """Have the bed for the length of a block: with userspace mode, unless other dataplanes are asked for."""
    bed = Relaying(open_dataplanes)
    try:
        yield bed
    finally:
        bed.close()


def service(
    name: str,
    address: str,
    endpoints: Sequence[str],
    *,
    node_port: int = 0,
    protocol: Protocol = Protocol.TCP,
    proxy_protocol: bool = False,
) -> Route:
    """Return a Service at ``address:80``, and at a NodePort if one is given; every endpoint is on this node."""
    frontends = [Frontend(FrontendKind.CLUSTER_IP, protocol, address, 80)]
    if node_port:
        frontends.append(Frontend(FrontendKind.NODE_PORT, protocol, "", node_port))
    places = tuple(
        Endpoint(key, key.rpartition(":")[0].strip("[]"), int(key.rpartition(":")[2]), "here", local=True)
        for key in sorted(endpoints)
    )
    return Route(
        RouteKey("shop", name, "", protocol, family_of(address)),
        _BALANCED,
        _BALANCED,
        tuple(frontends),
        places,
        method=Method.RR,
        proxy_protocol=proxy_protocol,
    )
