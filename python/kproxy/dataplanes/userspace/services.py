# SPDX-License-Identifier: Apache-2.0
"""What the relay is told of a route: plain tuples, as ``kproxy._core.Relay`` takes them."""

import zlib
from typing import Final, NamedTuple, TypeAlias

from kproxy.dataplanes.userspace.elements import served_frontends
from kproxy.dataplanes.userspace.layout import Options
from kproxy.table.endpoint import Endpoint
from kproxy.table.route import Route
from kproxy.table.terms import Family, Method, Protocol

Frontend: TypeAlias = tuple[str, str, int]
Backend: TypeAlias = tuple[str, int, bool]

ANY: Final = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}
_METHODS: Final = {
    Method.RANDOM: "random",
    Method.RR: "round-robin",
    Method.WRR: "round-robin",
    Method.LC: "least-connections",
    Method.WLC: "least-connections",
    Method.SH: "consistent",
    Method.DH: "consistent",
    Method.MH: "consistent",
}


class Service(NamedTuple):
    """A Service port as the relay knows it. Order and types are those of the core."""

    key: str
    protocol: str
    seed: int
    frontends: tuple[Frontend, ...]
    all: tuple[Backend, ...]
    local: tuple[Backend, ...]
    method: str
    affinity: int
    proxy_protocol: bool
    keep_source: bool


def service_of(route: Route, options: Options) -> Service | None:
    """Return what the relay is told of a route; None: it has nothing to do with it."""
    frontends = served_frontends(route, options)
    if route.key.protocol is Protocol.SCTP or not frontends:
        return None
    return Service(
        key=str(route.key),
        protocol=route.key.protocol,
        seed=zlib.crc32(route.key.service.encode()),  # the same on every node and in every life
        frontends=tuple((str(one), one.address or ANY[route.key.family], one.port) for one in frontends),
        all=_backends(route.all),
        local=_backends(route.local) if options.serves_all else (),
        method=_METHODS.get(route.method, "random"),
        affinity=route.affinity,
        proxy_protocol=route.proxy_protocol,
        keep_source=options.keep_source,
    )


def _backends(endpoints: tuple[Endpoint, ...]) -> tuple[Backend, ...]:
    return tuple((one.key, one.weight, one.local) for one in endpoints)


def limit_of(route: Route) -> str | None:
    """Say in a sentence what of a route this mode cannot do; None: nothing."""
    if route.key.protocol is Protocol.SCTP:
        return f"mode userspace has no SCTP: connections to {route.key} are refused; take mode nftables, iptables or ipvs"
    if route.method not in _METHODS:
        return f"method {route.method} is not available in mode userspace: {route.key} is balanced at random"
    return None


def meanwhile(old: Service | None, new: Service | None, claimed: frozenset[tuple[str, int, str]]) -> Service | None:
    """Return what serves while packets still in flight may have been judged by the old rules.

    That is the new Service with what the old one had and it lacks: frontends that no other Service claims now, and a set of
    endpoints that no verdict uses any more.
    """
    if old is None or new is None:
        return new or old
    known = {(address, port) for _, address, port in new.frontends}
    left = tuple(
        one for one in old.frontends if (one[1], one[2]) not in known and (one[1], one[2], old.protocol) not in claimed
    )
    kept = {name: getattr(new, name) or getattr(old, name) for name in ("all", "local")}
    return new._replace(frontends=(*new.frontends, *left), **kept)
