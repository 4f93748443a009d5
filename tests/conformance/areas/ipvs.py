# SPDX-License-Identifier: Apache-2.0
"""Area ipvs: schedulers, excluded ranges and draining of ipvs mode."""

from typing import Any

from kproxy.config.addresses import by_family
from kproxy.config.decode import configuration_of
from kproxy.config.defaults import for_platform
from kproxy.config.effective import effective
from kproxy.daemon.modes import ipvs_options
from kproxy.dataplanes.ipvs.committed import Committed
from kproxy.dataplanes.ipvs.compile import compile_changes
from kproxy.dataplanes.ipvs.layout import Options
from kproxy.kernel.ipvs_values import Command, RealServer, VirtualServer
from kproxy.routing.diff import changes_from_nothing
from kproxy.table.endpoint import Endpoint
from kproxy.table.frontend import Frontend
from kproxy.table.route import Policy, Route, RouteKey, Verdict
from kproxy.table.routing_table import Changes, RouteChange, RoutingTable, ServiceRoutes
from kproxy.table.terms import Action, Family, FrontendKind, Protocol

_ENDPOINTS = tuple(Endpoint(f"10.180.0.{host}:80", f"10.180.0.{host}", 80, "here", local=True) for host in (1, 2))


def _table(endpoints: tuple[Endpoint, ...]) -> RoutingTable:
    """Return a table with one Service."""
    everybody = Policy(*(Verdict(Action.BALANCE),) * 3)
    route = Route(
        RouteKey("default", "web", "", Protocol.TCP, Family.IPV4),
        everybody,
        everybody,
        (Frontend(FrontendKind.CLUSTER_IP, Protocol.TCP, "172.30.0.41", 80),),
        endpoints,
    )
    return RoutingTable(services={"default/web": ServiceRoutes("default/web", routes=(route,))})


def _options(section: dict[str, Any]) -> Options:
    config = for_platform(configuration_of({"mode": "ipvs", "ipvs": section}), nftables_works=False)
    return ipvs_options(effective(config))


def _programmed(options: Options) -> tuple[VirtualServer, RealServer]:
    """Return the virtual server of a Service that asks for nothing, and its first real server."""
    transaction = compile_changes(Committed(), changes_from_nothing(_table(_ENDPOINTS)), Family.IPV4, options)
    operations = [change.operation for change in transaction.servers]
    server = next(each.server for each in operations if each.server is not None)
    return server, next(each.real for each in operations if each.real is not None)


def _removed() -> tuple[int | None, bool]:
    """Remove one of two endpoints; return its weight then, and whether it was deleted at once."""
    committed = Committed()
    both, one = _table(_ENDPOINTS), _table(_ENDPOINTS[1:])
    committed.advance(compile_changes(committed, changes_from_nothing(both), Family.IPV4, Options()).outcome)
    (before,), (after,) = both.routes(), one.routes()
    changes = Changes(both, one, (RouteChange(before.key, before, after),))
    operations = [change.operation for change in compile_changes(committed, changes, Family.IPV4, Options()).servers]
    weights = [each.real.weight for each in operations if each.command is Command.SET_REAL and each.real is not None]
    return (weights[0] if weights else None), any(each.command is Command.DELETE_REAL for each in operations)


def run(case: dict[str, Any]) -> None:
    """Compare what an operator's choice comes to, and what an endpoint that leaves meets."""
    given, expect = case["input"], case["expect"]
    if "scheduler" in given:
        server, real = _programmed(_options({"scheduler": given["scheduler"]}))
        found = {"scheduler": server.scheduler, "realServerWeight": real.weight}
    elif "excludeCIDRs" in given:
        sorted_out = by_family(_options({"excludeCIDRs": given["excludeCIDRs"]}).exclude)
        found = {str(family): [str(network) for network in sorted_out[family]] for family in Family}
    elif given.get("realServer") == "TCP with active connections":
        weight, deleted = _removed()
        found = {"weight": weight, "deletedAtOnce": deleted}
    else:
        raise AssertionError(f"nothing is known of {given}")
    assert found == expect, f"{found}, expected {expect}"
