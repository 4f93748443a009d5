# SPDX-License-Identifier: Apache-2.0
"""A dataplane without a kernel, as complete as the real ones.

It keeps what was committed in a ``FakeKernel`` that outlives it (hand the same one to a second ``FakeDataplane``: that is a
restart), checks what it is given as strictly as a kernel would and a little more, and does on demand what kernels do on bad
days: refuse one route, everything, or n times; lose a route; be flushed by somebody else. The suite that every mode passes
runs on it too, so what the loop is tested against is what it will meet.
"""

import os
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kproxy.dataplanes.contract import Applied, Counters, Difference, Refused, RelayReport, Traffic
from kproxy.table.addresses import family_of, join_port, parse_address
from kproxy.table.endpoint import Endpoint
from kproxy.table.errors import KernelError
from kproxy.table.node import NodeFacts
from kproxy.table.route import Route, RouteKey
from kproxy.table.routing_table import Changes, RoutingTable
from kproxy.table.terms import Action, Client, EndpointSet, Family, Method, Mode, Role


class FakeCommitted(msgspec.Struct, frozen=True):
    """What the fake kernel holds. ``node`` is None while nothing was ever committed."""

    routes: Mapping[RouteKey, Route] = {}
    node: NodeFacts | None = None


class FakeOperation(msgspec.Struct, frozen=True):
    """One route added, changed or deleted (``after`` is None), or the node's facts when ``key`` is None."""

    key: RouteKey | None
    after: Route | None = None
    node: NodeFacts | None = None

    def __str__(self) -> str:
        """Return the operation as one line."""
        if self.key is None:
            return f"set node {self.node.name or '(unnamed)'}" if self.node else "forget node"
        if self.after is None:
            return f"delete route {self.key}"
        frontends = ", ".join(map(str, self.after.frontends)) or "nothing"
        endpoints = ", ".join(endpoint.key for endpoint in self.after.all) or "nobody"
        return f"set route {self.key}: {frontends} -> {endpoints}"


class FakeTransaction(msgspec.Struct, frozen=True):
    """What is to be done, and what will be committed then."""

    steps: tuple[FakeOperation, ...]
    result: FakeCommitted

    @property
    def operations(self) -> int:
        """Return how many operations it holds."""
        return len(self.steps)

    def __str__(self) -> str:
        """Return one line an operation."""
        return "".join(f"{step}\n" for step in self.steps)


class FakeKernel:
    """The state that outlives a dataplane, and the handles a test turns.

    Attributes a test may read: ``committed``; ``transactions`` (the text of each that was taken); ``lingering`` (deletions
    that wait for packets in flight); ``settled`` (how often they were sent); ``retiring`` (nothing is in force any more, but
    established connections are served). To set: ``frontends``, ``endpoints`` and ``refused`` are the counters;
    ``unsupported`` and ``failure`` are raised by ``probe`` and by the next ``commit``; ``established`` connections depend on
    the dataplane.
    """

    def __init__(self) -> None:
        self.committed = FakeCommitted()
        self.transactions: list[str] = []
        self.lingering: set[RouteKey] = set()
        self.settled = 0
        self.frontends: dict[tuple[RouteKey, str], Traffic] = {}
        self.endpoints: dict[tuple[RouteKey, str], Traffic] = {}
        self.refused: dict[str, int] = {}
        self.unsupported: KernelError | None = None
        self.failure: KernelError | None = None
        self.foreign = False
        self.established = 0
        self.retiring = False
        self._refused_keys: dict[RouteKey, int] = {}
        self._refuse_all = 0
        self._words = ""

    def refuse(self, key: RouteKey, *, times: int = -1) -> None:
        """Refuse every transaction that sets this route; -1: until ``accept``."""
        self._refused_keys[key] = times

    def refuse_everything(self, words: str = "No buffer space available", *, times: int = -1) -> None:
        """Refuse every transaction with these words and nobody to blame; -1: until ``accept``."""
        self._refuse_all = times
        self._words = words

    def accept(self) -> None:
        """Take everything again."""
        self._refused_keys.clear()
        self._refuse_all = 0

    def change_by_others(self, key: RouteKey | None = None) -> None:
        """Let somebody else delete one route, or (None) flush the whole."""
        if key is None:
            self.committed = FakeCommitted()
        else:
            left = {name: route for name, route in self.committed.routes.items() if name != key}
            self.committed = FakeCommitted(left, self.committed.node)
        self.foreign = True

    def objection(self, steps: Sequence[FakeOperation]) -> Refused | None:
        """Say why a transaction is not taken, if it is not; counts the refusals down."""
        if self._refuse_all:
            self._refuse_all -= self._refuse_all > 0
            return Refused(self._words)
        blame = [step.key for step in steps if step.after and step.key and self._refused_keys.get(step.key)]
        for key in blame:
            self._refused_keys[key] -= self._refused_keys[key] > 0
        if blame:
            return Refused(f"{blame[0]} was refused, as asked", frozenset(blame))
        return None


class FakeRelay:
    """A relay without a thread. To set: ``clients``, how many there are, and ``died``; to read: what it was asked to do.

    ``handed`` counts hand-overs; ``draining`` is the time its clients were given, None while it takes new ones.
    """

    def __init__(self) -> None:
        self.clients = 0
        self.died: str | None = None
        self.handed = 0
        self.draining: float | None = None

    def hand_over(self, channel: int) -> None:
        """Send a word in the place of sockets."""
        os.write(channel, b"sockets")
        self.handed += 1

    def drain(self, seconds: float) -> None:
        """Note it."""
        self.draining = seconds

    def connections(self) -> int:
        """Return what a test has set."""
        return self.clients

    def fault(self) -> str | None:
        """Return what a test has set."""
        return self.died

    def report(self) -> RelayReport:
        """Tell of its clients."""
        return RelayReport(active=self.clients)


class FakeDataplane:
    """A dataplane whose kernel is a dictionary."""

    def __init__(
        self,
        family: Family,
        *,
        kernel: FakeKernel | None = None,
        mode: Mode = Mode.NFTABLES,
        methods: Iterable[Method] = (Method.RANDOM, Method.MH),
    ) -> None:
        self.mode = mode
        self.family = family
        self.kernel = kernel or FakeKernel()
        self.closed = False
        self._methods = frozenset(methods)

    def probe(self) -> None:
        """Raise what a test has put into ``kernel.unsupported``."""
        if self.kernel.unsupported:
            raise self.kernel.unsupported

    def found(self) -> bool:
        """Tell whether anything was committed and not removed."""
        return self.kernel.retiring or self.kernel.committed != FakeCommitted()

    def empty(self) -> FakeCommitted:
        """Return what a new fake kernel holds."""
        return FakeCommitted()

    def read_back(self) -> FakeCommitted:
        """Return what the fake kernel holds."""
        return self.kernel.committed

    def compile(self, committed: FakeCommitted, changes: Changes) -> FakeTransaction:
        """Return an operation for each route that differs. Raises ValueError when changes and committed do not fit."""
        if changes.before is None:
            wanted = {route.key: route for route in changes.after.routes(self.family)}
            named = {change.key for change in changes.routes if change.key.family is self.family}
            if named != wanted.keys():
                raise ValueError("changes without a table before must name every route of the table after")
        else:
            wanted = dict(committed.routes)
            for change in changes.routes:
                if change.key.family is not self.family:
                    continue
                if change.before != committed.routes.get(change.key):
                    raise ValueError(f"{change.key} is not committed as the changes say it is")
                if change.after is None:
                    wanted.pop(change.key, None)
                else:
                    wanted[change.key] = change.after
        steps = [FakeOperation(key, route) for key, route in wanted.items() if committed.routes.get(key) != route]
        steps += [FakeOperation(key) for key in committed.routes if key not in wanted]
        steps.sort(key=lambda step: (-(step.after.priority if step.after else 0), str(step.key)))
        node = changes.after.node
        if committed.node != node and (changes.before is None or changes.node):
            steps.insert(0, FakeOperation(None, node=node))
        else:
            node = committed.node or node
        return FakeTransaction(tuple(steps), FakeCommitted(wanted, node))

    def commit(self, transaction: FakeTransaction) -> Applied | Refused:
        """Take the transaction unless a handle was turned or a route is not well formed."""
        kernel = self.kernel
        if kernel.failure:
            failure, kernel.failure = kernel.failure, None
            raise failure
        objection = kernel.objection(transaction.steps) or self._malformed(transaction)
        if objection:
            return objection
        self.settle()
        if transaction.steps:
            kernel.transactions.append(str(transaction))
        kernel.committed = transaction.result
        kernel.retiring = False
        kernel.lingering = {step.key for step in transaction.steps if step.key}
        return Applied(transaction.result, self._limits(transaction))

    def settle(self) -> None:
        """Forget what had to linger."""
        if self.kernel.lingering:
            self.kernel.settled += 1
            self.kernel.lingering = set()

    def verify(self, committed: FakeCommitted, table: RoutingTable) -> Sequence[Difference]:
        """Compare route by route."""
        wanted = {route.key: route for route in table.routes(self.family)}
        found = [Difference(f"route {key} is missing", key) for key in wanted if key not in committed.routes]
        found += [Difference(f"route {key} is surplus", key) for key in committed.routes if key not in wanted]
        found += [
            Difference(f"route {key} is not as the table says", key)
            for key, route in wanted.items()
            if key in committed.routes and committed.routes[key] != route
        ]
        if committed.node != table.node:
            found.append(Difference("the node's facts are not as the table says"))
        return found

    def counters(self) -> Counters:
        """Return what a test has set, zeros for all else."""
        frontends = {
            (key, str(frontend)): Traffic()
            for key, route in self.kernel.committed.routes.items()
            for frontend in route.frontends
        }
        endpoints = {
            (key, endpoint.key): Traffic()
            for key, route in self.kernel.committed.routes.items()
            for endpoint in (*route.all, *route.local)
        }
        return Counters(
            frontends | {name: count for name, count in self.kernel.frontends.items() if name in frontends},
            endpoints | {name: count for name, count in self.kernel.endpoints.items() if name in endpoints},
            dict(self.kernel.refused),
        )

    def foreign_changes(self) -> bool:
        """Tell, once, whether ``change_by_others`` was called."""
        foreign, self.kernel.foreign = self.kernel.foreign, False
        return foreign

    def retire(self) -> bool:
        """Put nothing in force any more; done when the test says that no connection is left."""
        self.kernel.retiring = self.found()
        self.kernel.committed = FakeCommitted()
        return not self.kernel.established

    def remove(self) -> None:
        """Empty the fake kernel."""
        self.kernel.committed = FakeCommitted()
        self.kernel.retiring = False
        self.kernel.lingering = set()

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def _limits(self, transaction: FakeTransaction) -> dict[RouteKey, str]:
        found = {}
        for step in transaction.steps:
            if not step.key or not step.after:
                continue
            if step.after.method not in self._methods:
                found[step.key] = f"method {step.after.method} is not available in mode {self.mode}: {Method.RANDOM} is used"
            if step.after.proxy_protocol and self.mode is not Mode.USERSPACE:
                found[step.key] = f"mode {self.mode} sends no PROXY protocol header: take mode {Mode.USERSPACE}"
        return found

    def _malformed(self, transaction: FakeTransaction) -> Refused | None:
        faults: dict[RouteKey, str] = {}
        for step in transaction.steps:
            fault = step.after and malformation(step.after)
            if step.key and fault:
                faults[step.key] = fault
        owners: dict[tuple[str, str, int], RouteKey] = {}
        changed = {step.key for step in transaction.steps}
        for route in sorted(transaction.result.routes.values(), key=lambda route: route.key in changed):
            for frontend in route.frontends:
                owner = owners.setdefault(frontend.claim, route.key)
                if owner != route.key:
                    faults[route.key] = f"{route.key}: frontend {frontend} belongs to {owner} already"
        return Refused(next(iter(faults.values())), frozenset(faults), retry=False) if faults else None


def malformation(route: Route) -> str | None:
    """Say what of a route no kernel could take, in one sentence; None when it is well formed."""
    family = route.key.family
    for frontend in route.frontends:
        if frontend.address and not _is_address(frontend.address, family):
            return f"{route.key}: {frontend.address!r} is no {family} address"
        if frontend.protocol is not route.key.protocol or not 0 < frontend.port < 1 << 16:
            return f"{route.key}: frontend {frontend} has another protocol, or a port that does not exist"
    for which in EndpointSet:
        fault = _endpoint_fault(route.endpoints(which), family)
        if fault:
            return f"{route.key}: {fault}"
    for role in Role:
        if not any(frontend.role is role for frontend in route.frontends):
            continue
        for client in Client:
            verdict = route.policy(role).of(client)
            if verdict.action is Action.BALANCE and not route.endpoints(verdict.endpoints):
                return f"{route.key}: {role} {client} balances over an empty set"
    return None


def _is_address(text: str, family: Family) -> bool:
    try:
        return family_of(text) is family and str(parse_address(text)) == text
    except ValueError:
        return False


def _endpoint_fault(endpoints: Sequence[Endpoint], family: Family) -> str | None:
    keys = [endpoint.key for endpoint in endpoints]
    if keys != sorted(set(keys)):
        return "the endpoints are not sorted by key and distinct"
    for endpoint in endpoints:
        if endpoint.key != join_port(endpoint.address, endpoint.port) or not _is_address(endpoint.address, family):
            return f"endpoint {endpoint.key} is not what it is called, or of another family"
    return None
