# SPDX-License-Identifier: Apache-2.0
"""Small tables, what changed between two of them, and a router that a test scripts."""

from collections.abc import Iterable, Sequence

from kproxy.daemon.observer import Silent, Sync
from kproxy.dataplanes.contract import Difference, Duty
from kproxy.objects.events import Event
from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Frontend
from kproxy.table.node import NodeFacts
from kproxy.table.route import REJECT, Policy, Route, RouteKey, Verdict
from kproxy.table.routing_table import Changes, RouteChange, RoutingTable, ServiceRoutes
from kproxy.table.terms import Action, Family, FrontendKind, Protocol


def key(name: str, family: Family = Family.IPV4) -> RouteKey:
    """Name a route of Service ``shop/NAME``."""
    return RouteKey("shop", name, "http", Protocol.TCP, family)


def route(name: str, *endpoints: str, family: Family = Family.IPV4, number: int | None = None) -> Route:
    """Build a route whose frontend follows from its name (``a`` .. ``z``) unless ``number`` says otherwise."""
    number = ord(name[0]) - ord("a") + 1 if number is None else number
    address, prefix = (f"10.96.0.{number}", "10.244.0.") if family is Family.IPV4 else (f"fd00:96::{number:x}", "fd00:244::")
    sorted_keys = []
    for tail in endpoints:
        host = f"{prefix}{tail}"
        sorted_keys.append(Endpoint(f"{host}:80" if family is Family.IPV4 else f"[{host}]:80", host, 80))
    sorted_keys.sort(key=lambda endpoint: endpoint.key)
    verdict = Verdict(Action.BALANCE) if endpoints else REJECT
    policy = Policy(verdict, verdict, verdict)
    frontend = Frontend(FrontendKind.CLUSTER_IP, Protocol.TCP, address, 80)
    return Route(key(name, family), policy, policy, (frontend,), tuple(sorted_keys))


def table(*routes: Route, node: NodeFacts | None = None) -> RoutingTable:
    """Build a table of these routes."""
    services: dict[str, ServiceRoutes] = {}
    for item in routes:
        name = item.key.service
        earlier = services[name].routes if name in services else ()
        services[name] = ServiceRoutes(name, routes=(*earlier, item))
    return RoutingTable(node=node or NodeFacts(name="n1"), services=services)


def changes(before: RoutingTable | None, after: RoutingTable) -> Changes:
    """Work out what differs, for both families, the slow way."""
    old = {item.key: item for item in before.routes()} if before else {}
    new = {item.key: item for item in after.routes()}
    differing = [name for name in {**old, **new} if before is None or old.get(name) != new.get(name)]
    routes = tuple(RouteChange(name, old.get(name), new.get(name)) for name in sorted(differing))
    return Changes(before, after, routes, node=before is None or before.node != after.node)


class ScriptedRouter:
    """A router whose table a test sets; any event makes it say what changed since."""

    def __init__(self, first: RoutingTable) -> None:
        self.table = RoutingTable()
        self.next = first
        self.batches: list[Sequence[Event]] = []
        self._told: RoutingTable | None = None

    def apply(self, events: Sequence[Event]) -> Changes:
        """Tell what the test has changed."""
        self.batches.append(events)
        self.table = self.next
        told, self._told = self._told, self.table
        return changes(told, self.table)


class Witness(Silent):
    """Remembers what the loop told."""

    def __init__(self) -> None:
        self.syncs: list[Sync] = []
        self.failures: list[tuple[str, float]] = []
        self.refusals: list[tuple[RouteKey, float]] = []
        self.accepted_keys: list[RouteKey] = []
        self.drifts: list[Sequence[Difference]] = []
        self.repairs: list[float] = []

    def synced(self, sync: Sync) -> None:
        """Remember it."""
        self.syncs.append(sync)

    def failed(self, duty: Duty, words: str, *, retry_in: float) -> None:  # noqa: ARG002 - the protocol
        """Remember it."""
        self.failures.append((words, retry_in))

    def refused(self, duty: Duty, key: RouteKey, words: str, *, retry_in: float) -> None:  # noqa: ARG002 - the protocol
        """Remember it."""
        self.refusals.append((key, retry_in))

    def accepted(self, duty: Duty, key: RouteKey) -> None:  # noqa: ARG002 - the protocol
        """Remember it."""
        self.accepted_keys.append(key)

    def drifted(self, duty: Duty, differences: Sequence[Difference]) -> None:  # noqa: ARG002 - the protocol
        """Remember it."""
        self.drifts.append(differences)

    def repaired(self, duty: Duty, seconds: float) -> None:  # noqa: ARG002 - the protocol
        """Remember it."""
        self.repairs.append(seconds)


def routes_of(items: Iterable[Route], family: Family = Family.IPV4) -> dict[RouteKey, Route]:
    """Index the routes of one family."""
    return {item.key: item for item in items if item.key.family is family}
