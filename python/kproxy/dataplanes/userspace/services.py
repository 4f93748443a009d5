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


Claim: TypeAlias = tuple[str, int, str]


def claims_of(service: Service) -> frozenset[Claim]:
    """Return what only one Service can have: address, port, protocol."""
    return frozenset((address, port, service.protocol) for _, address, port in service.frontends)


def meanwhile(old: Service | None, new: Service, claimed: frozenset[Claim], lost: frozenset[Claim]) -> Service:
    """Return what serves while packets still in flight may have been judged by the old rules.

    That is the new Service with what the old one had and it lacks: frontends that no other Service claims now, and a set of
    endpoints that no verdict uses any more. Where a frontend comes from another Service (``lost`` are the claims of all that
    change), its clients may have been sent to either set, so that one stands in for the other.
    """
    own = claims_of(old) if old else frozenset()
    taken_over = any(claim in lost and claim not in own for claim in claims_of(new))
    everybody = new.all or (old.all if old else ()) or (new.local if taken_over else ())
    local = new.local or (old.local if old else ()) or (new.all if taken_over else ())
    left: tuple[Frontend, ...] = ()
    if old is not None:
        known = {(address, port) for _, address, port in new.frontends}
        left = tuple(
            one for one in old.frontends if (one[1], one[2]) not in known and (one[1], one[2], old.protocol) not in claimed
        )
    return new._replace(frontends=(*new.frontends, *left), all=everybody, local=local)
