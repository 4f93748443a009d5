# SPDX-License-Identifier: Apache-2.0
"""What a route looks like in the kernel: the virtual servers it needs, and the elements that lead to them. Pure.

A frontend with an address has the virtual server of its address and port, which serves the endpoint set that outside clients
meet. A class of client that meets the other set is led to a second one, by mark. A NodePort has no address, so all its
clients are led by mark, one virtual server for all addresses of the node. With client affinity that cannot be: IPVS then
keeps the port that was dialled. Such a NodePort has a virtual server on each of the node's addresses; and clients that are
led by mark are bound to an endpoint by a hash of their address.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from kproxy.dataplanes.ipvs import layout
from kproxy.dataplanes.ipvs.elements import Elements
from kproxy.dataplanes.ipvs.layout import CLIENTS, Answer, Kind, Options
from kproxy.dataplanes.ipvs.marks import Mark
from kproxy.dataplanes.nft_tables import Facts, intervals
from kproxy.kernel.ipvs_values import RealServer, ServerKey, VirtualServer
from kproxy.kernel.nft_elements import Codec, number
from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Frontend
from kproxy.table.route import Policy, Route, Verdict
from kproxy.table.terms import Action, Client, EndpointSet, Family, FrontendKind, Method

WEIGHTED: Final = {"rr": "wrr", "lc": "wlc"}  # the same, with an eye on weights
HASH_FLAGS: Final = {"sh": 1}  # 1: a client whose endpoint takes no new connections gets another, not a refusal
BY_PORT: Final = 2  # the hash looks at the client's port too
HASHED: Final = ("mh", "sh")  # how clients led by mark are bound to endpoints, the better one first
FALLBACK: Final = "rr"

Numbers = Callable[[Kind, bytes], int]


class Pool(msgspec.Struct, frozen=True):
    """A virtual server and its real servers by endpoint key, as they shall be or as the kernel holds them."""

    server: VirtualServer
    reals: Mapping[str, RealServer]


class World(msgspec.Struct, frozen=True):
    """What a route's appearance depends on beside the route. ``missing``: schedulers this kernel does not have."""

    family: Family
    options: Options
    facts: Facts
    codec: Codec
    numbers: Numbers
    missing: frozenset[str] = frozenset()


class Appearance(msgspec.Struct, frozen=True):
    """A route in the kernel.

    ``shared``: elements that other routes may have as well; ``serves``: the virtual servers of each frontend, by its text;
    ``limit``: what the route cannot have.
    """

    servers: dict[ServerKey, Pool]
    elements: Elements
    shared: frozenset[tuple[str, bytes, bytes | None]]
    serves: Mapping[str, tuple[ServerKey, ...]]
    limit: str = ""


def kind_of(frontend: Frontend) -> Kind:
    """Tell by what a frontend is looked up."""
    return Kind.NODEPORT if frontend.kind is FrontendKind.NODE_PORT else Kind.SERVICE


def node_port_addresses(facts: Facts) -> tuple[str, ...]:
    """Return the addresses on which NodePorts are served, loopback aside."""
    nodeports = facts.family.nodeports
    loopback = ("127.", "::1")
    return tuple(
        address
        for address in (facts.family.addresses if nodeports.every else nodeports.addresses)
        if not address.startswith(loopback)
    )


def appearance(route: Route, world: World) -> Appearance:
    """Work out a route's virtual servers and elements."""
    return _Drawing(route, world).result()


class _Met(msgspec.Struct, frozen=True):
    """What a class of client meets: where it is balanced, over which set and whether its source is rewritten."""

    answer: Answer
    endpoints: EndpointSet = EndpointSet.ALL
    masquerade: bool = False


NO_HEADER: Final = "mode ipvs sends no PROXY protocol header, which the Service asks for: take mode userspace"


class _Drawing:
    def __init__(self, route: Route, world: World) -> None:
        self.route = route
        self.world = world
        self.usable = frozenset(which for which in EndpointSet if any(each.weight for each in route.endpoints(which)))
        self.servers: dict[ServerKey, Pool] = {}
        self.elements: Elements = {}
        self.serves: dict[str, tuple[ServerKey, ...]] = {}
        self.used: set[EndpointSet] = set()
        self.limits = [NO_HEADER] if route.proxy_protocol else []

    def result(self) -> Appearance:
        """Draw every frontend."""
        for frontend in self.route.frontends:
            self._frontend(frontend)
        codec = self.world.codec
        shared = {
            (layout.CLUSTER_IPS, codec.address(frontend.address), None)
            for frontend in self.route.frontends
            if frontend.kind is FrontendKind.CLUSTER_IP
        }
        shared |= {
            (layout.HAIRPIN, codec.hairpin(endpoint.address), None)
            for which in self.used
            for endpoint in self.route.endpoints(which)
            if endpoint.local or not endpoint.node
        }
        return Appearance(self.servers, self.elements, frozenset(shared), self.serves, "; ".join(dict.fromkeys(self.limits)))

    def _frontend(self, frontend: Frontend) -> None:
        kind, name = kind_of(frontend), self.world.codec.frontend(frontend)
        policy = self.route.policy(frontend.role)
        known = len(self.servers)
        has_own = kind is Kind.SERVICE or self.route.affinity > 0
        direct = _direct(policy) if has_own else None
        met = {client: _meet(policy.of(client), direct, self.usable) for client in CLIENTS}
        if any(each.answer in {Answer.SERVER, Answer.SERVER_MASQUERADED} for each in met.values()) and direct:
            self._own_servers(frontend, kind, direct)
        marks = {client: self._marked(kind, name, client, met) for client, each in met.items() if each.answer is Answer.MARK}
        self.serves[str(frontend)] = tuple(self.servers)[known:]
        if kind is Kind.SERVICE and any(each.answer >= Answer.SERVER for each in met.values()):
            self.elements[layout.SERVERS, name, None] = None
        default = (met[Client.OUTSIDE].answer, marks.get(Client.OUTSIDE))
        for client in CLIENTS:
            answer, mark = met[client].answer, marks.get(client)
            if client is Client.OUTSIDE or (answer, mark) != default:
                self.elements[kind.answers(client), name, None] = number(answer)
                if mark is not None:
                    self.elements[kind.marks(client), name, None] = number(mark)
        if frontend.sources is not None:
            self.elements[layout.GUARDED, name, None] = None
            for first, last in intervals(self.world.codec, frontend):
                self.elements[layout.ALLOWED, name + first, name + last] = None

    def _own_servers(self, frontend: Frontend, kind: Kind, which: EndpointSet) -> None:
        """Add the virtual server of the frontend's address, or of each node address it is served on."""
        addresses = (frontend.address,) if kind is Kind.SERVICE else node_port_addresses(self.world.facts)
        for address in addresses:
            key = ServerKey.at(frontend.protocol, address, frontend.port)
            self._server(key, which)
            place = msgspec.structs.replace(frontend, kind=FrontendKind.EXTERNAL_IP, address=address)
            self.elements[layout.SERVERS, self.world.codec.frontend(place), None] = None

    def _marked(self, kind: Kind, name: bytes, client: Client, met: Mapping[Client, _Met]) -> int:
        """Add the virtual server a class of client is led to, and return the mark that leads there."""
        own = met[client]
        peers = [met[other] for other in (Client.POD, Client.NODE) if client is not Client.OUTSIDE]
        node_only = (
            len(peers) == 2
            and all(each.answer is Answer.MARK and each.endpoints is own.endpoints for each in peers)
            and [each.masquerade for each in peers] == [False, True]
        )
        mark = Mark(
            self.world.numbers(kind, name),
            own.endpoints,
            masquerade=own.masquerade and not node_only,
            masquerade_node=node_only,
        )
        marks = self.world.options.marks
        word = marks.pack(mark)
        key = ServerKey.marked(self.world.family, word | marks.take if kind is Kind.SERVICE else word)
        self._server(key, own.endpoints)
        return word

    def _server(self, key: ServerKey, which: EndpointSet) -> None:
        endpoints = self.route.endpoints(which)
        self.used.add(which)
        name, flags = self._scheduler(endpoints, bound_by_hash=bool(key.mark and self.route.affinity))
        server = VirtualServer(key, name, persistence=0 if key.mark else self.route.affinity, scheduler_flags=flags)
        reals = {each.key: RealServer(each.address, each.port, each.weight) for each in endpoints}
        self.servers[key] = Pool(server, reals)

    def _scheduler(self, endpoints: tuple[Endpoint, ...], *, bound_by_hash: bool) -> tuple[str, int]:
        """Return a scheduler and its flags."""
        options, missing = self.world.options, self.world.missing
        if bound_by_hash:
            self.limits.append(
                "affinity of Pods and of the node itself under policy Local is kept by a hash of the client's address: it "
                "has no time-out, and a few clients move when endpoints change"
            )
            name = next((each for each in HASHED if each not in missing), HASHED[-1])
            return name, HASH_FLAGS.get(name, 0)
        asked = self.route.method is not Method.RANDOM
        name = self.route.method.value if asked else options.scheduler
        flags = HASH_FLAGS.get(name, 0)
        if not asked and name == "mh":
            flags |= BY_PORT  # as kube-proxy, which spreads each client's connections
        if not asked and len({each.weight for each in endpoints if each.weight}) > 1:
            name = WEIGHTED.get(name, name)
        if name in missing:
            self.limits.append(f"scheduler {name} is not in this kernel: load the module ip_vs_{name}; {FALLBACK} is used")
            return FALLBACK, 0
        return name, flags


def _direct(policy: Policy) -> EndpointSet:
    """Return the set that the virtual server of the frontend's own address serves: the one outside clients may reach.

    Where they may reach none it is the local one, empty then: it never holds an endpoint that they must not meet.
    """
    outside = policy.outside
    if outside.action is Action.BALANCE:
        return outside.endpoints
    return EndpointSet.LOCAL if outside.action is Action.DROP else EndpointSet.ALL


def _meet(verdict: Verdict, direct: EndpointSet | None, usable: frozenset[EndpointSet]) -> _Met:
    """Return what a verdict comes to. A balance over a set without a usable endpoint refuses as if the set were empty."""
    if verdict.action is not Action.BALANCE:
        return _Met({Action.PASS: Answer.PASS, Action.DROP: Answer.DROP, Action.REJECT: Answer.REJECT}[verdict.action])
    if verdict.endpoints not in usable:
        return _Met(Answer.REJECT if verdict.endpoints is EndpointSet.ALL else Answer.DROP)
    if verdict.endpoints is not direct:
        return _Met(Answer.MARK, verdict.endpoints, verdict.masquerade)
    answer = Answer.SERVER_MASQUERADED if verdict.masquerade else Answer.SERVER
    return _Met(answer, verdict.endpoints, verdict.masquerade)
