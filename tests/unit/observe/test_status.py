# SPDX-License-Identifier: Apache-2.0
"""The status reads well at three in the morning."""

from kproxy.observe.status import LaneStatus, RefusedRoute, Status, as_text
from kproxy.table.routing_table import Conflict
from kproxy.table.terms import Family, Mode


def test_everything_that_troubles_is_named() -> None:
    """Refused routes, conflicts, broken objects, the last failure, what is waited for."""
    lane = LaneStatus(
        mode=Mode.NFTABLES,
        family=Family.IPV4,
        in_force=True,
        settled=False,
        failure="the kernel is out of memory",
        routes=2,
        frontends=3,
        endpoints=4,
        refused={"shop/web:http/TCP/IPv4": RefusedRoute("the set is full", 3, 1.5)},
        limits={"shop/db:sql/TCP/IPv4": "random is used"},
    )
    status = Status(
        version="1",
        node="n1",
        mode="nftables",
        started=0.0,
        services=2,
        coming="iptables",
        leaving=("userspace",),
        waiting_for=("EndpointSlices",),
        lanes=(lane,),
        conflicts=(Conflict("10.0.0.1:80/TCP", "a/winner", "b/loser"),),
        broken={"Service shop/bad": "mend it"},
        complaints={"Service shop/odd": ("the annotation is ignored",)},
    )
    assert as_text(status).splitlines() == [
        "kproxy 1 on node n1, mode nftables, 2 Services",
        "no table in force yet: waiting for EndpointSlices",
        "mode iptables is coming: it takes over once it is in force and verified",
        "userspace is leaving: established connections need it",
        "nftables IPv4: in force, newer changes wait; 2 routes, 3 frontends, 4 endpoints",
        "  the last sync failed: the kernel is out of memory",
        "  refused shop/web:http/TCP/IPv4: the set is full (3 times, again in 1.5 s)",
        "  limited shop/db:sql/TCP/IPv4: random is used",
        "conflict: 10.0.0.1:80/TCP belongs to a/winner; b/loser waits for it",
        "broken: Service shop/bad: mend it",
        "questionable: Service shop/odd: the annotation is ignored",
    ]
