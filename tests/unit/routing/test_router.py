# SPDX-License-Identifier: Apache-2.0
"""When there is a table, what its changes carry, and what a change of settings does."""

import msgspec
import pytest

from kproxy.objects.events import Delete, Event, Host, Kind, Synced, Upsert
from kproxy.objects.node import Node
from kproxy.routing.router import Router
from kproxy.table.terms import Action, Mode
from tests.conformance.build import SYNCED, host, node
from tests.unit.routing.manifests import (
    HERE,
    NODE,
    OUTSIDE,
    dial,
    endpoint,
    eps,
    port,
    reached,
    routed,
    settings,
    svc,
)

TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"


def at(event: Upsert, received: float) -> Upsert:
    """Return an event that arrived at a moment."""
    return Upsert(event.object, received)


def test_there_is_no_table_before_services_and_slices_are_known() -> None:
    """Half a cluster would cut off what works: nothing is said until both kinds are synced, then everything at once."""
    router = Router(settings())

    assert router.apply([svc("web", "10.96.0.1"), eps("web", "10.1.0.1")]) is None
    assert router.apply([Synced(Kind.SERVICE)]) is None
    assert router.reconfigure(settings(masquerade_all=True)) is None
    assert router.table.services == {}
    changes = router.apply([Synced(Kind.ENDPOINT_SLICE)])
    assert changes is not None
    assert changes.before is None
    assert [str(change.key) for change in changes.routes] == ["shop/web:p/TCP/IPv4"]
    assert changes.services == ("shop/web",)
    assert changes.node
    assert changes


def test_a_change_touches_its_service_only() -> None:
    """One slice of one Service: one route, all others the same objects."""
    router = routed(*(svc(f"s{n}", f"10.96.1.{n}") for n in range(1, 9)), eps("s1", "10.1.0.1"), eps("s2", "10.1.0.2"))
    before = router.table

    changes = router.apply([eps("s1", "10.1.0.1", "10.1.0.9")])

    assert changes is not None
    assert [str(change.key) for change in changes.routes] == ["shop/s1:p/TCP/IPv4"]
    assert not changes.node
    assert all(router.table.services[name] is routes for name, routes in before.services.items() if name != "shop/s1")
    assert router.table.node is before.node or router.table.node == before.node


def test_a_change_that_no_packet_notices_still_names_its_service() -> None:
    """An endpoint that serves without being ready is news for conntrack: no route differs, the Service does."""
    udp = {"name": "p", "port": 53, "protocol": "UDP"}
    router = routed(svc("dns", "10.96.0.1", ports=[port(53, "UDP")]), eps("dns", "10.1.0.1", ports=[udp]))
    changes = router.apply([eps("dns", "10.1.0.1", endpoint("10.1.0.2", ready=False, serving=True), ports=[udp])])

    assert changes is not None
    assert not changes
    assert changes.services == ("shop/dns",)
    assert changes.after is router.table


def test_a_change_carries_when_its_first_event_arrived() -> None:
    """The clock of a change starts with the first event that changed something."""
    router = routed(svc("web", "10.96.0.1"), eps("web", "10.1.0.1"))
    repeated, first = at(eps("web", "10.1.0.1"), 5.0), at(eps("web", "10.1.0.2"), 7.0)

    changes = router.apply([repeated, at(svc("a", "10.96.0.2"), 8.0), first])

    assert changes is not None
    assert changes.times.received == 7.0
    nothing = router.apply([at(eps("web", "10.1.0.2"), 9.0)])
    assert nothing is not None
    assert nothing.times.received == 0.0


def test_trigger_times_travel_with_the_change() -> None:
    """What the controller annotated since our start comes with the next change, sorted, and only once."""
    router = Router(settings(), started=1_700_000_000.0)
    late, early = "2023-11-14T22:13:30.5Z", "2023-11-14T22:13:25Z"
    router.apply([svc("web", "10.96.0.1"), svc("api", "10.96.0.2")])
    router.apply([eps("web", "10.1.0.1", annotations={TRIGGER: late}), eps("api", "10.1.0.2", annotations={TRIGGER: early})])
    router.apply([eps("web", "10.1.0.3", name="2", annotations={TRIGGER: "2020-01-01T00:00:00Z"})])
    router.apply([eps("web", "10.1.0.4", name="3", annotations={TRIGGER: "yesterday"})])
    router.apply([eps("web", "10.1.0.5", name="4", annotations={TRIGGER: "2023-11-14T22:13:26"})])

    changes = router.apply(SYNCED)

    assert changes is not None
    assert changes.times.triggers == (1_700_000_005.0, 1_700_000_010.5)
    again = router.apply([eps("web", "10.1.0.1", "10.1.0.7")])
    assert again is not None
    assert again.times.triggers == ()


def test_what_the_cluster_needs_first_is_in_front() -> None:
    """Changes name the API server, then DNS, then by annotation, then the rest."""
    events = [
        svc("web", "10.96.0.1"),
        svc("vip", "10.96.0.2", annotations={"kproxy.io/priority": "5"}),
        svc("dns", "10.96.0.3", ports=[port(53, "UDP")]),
        svc("last", "10.96.0.4", annotations={"kproxy.io/priority": "-1"}),
    ]
    router = Router(settings())
    router.apply(events)
    changes = router.apply(SYNCED)

    assert changes is not None
    assert [change.key.name for change in changes.routes] == ["dns", "vip", "web", "last"]


def test_new_settings_are_in_force_at_once() -> None:
    """A change of settings resolves what it concerns: masquerading here, and the mode's default NodePort addresses."""
    router = routed(svc("web", "10.96.0.1", type="NodePort", ports=[port(80, node_port=30_001)]), eps("web", "10.1.0.1"))
    assert dial(router, "192.168.1.2", 30_001, OUTSIDE).action is Action.PASS

    changes = router.reconfigure(settings(masquerade_all=True))
    assert changes is not None
    assert len(changes.routes) == 1
    changes = router.reconfigure(settings(masquerade_all=True, node_port_addresses=("all",)))
    assert changes is not None
    assert changes.routes == ()
    assert changes.node
    assert reached(dial(router, "192.168.1.2", 30_001, OUTSIDE)) == {"10.1.0.1"}


def test_a_router_serves_one_node() -> None:
    """Another node name is another daemon."""
    with pytest.raises(ValueError, match="is for node 'node-1', not 'node-2'"):
        routed().reconfigure(msgspec.structs.replace(settings(), node="node-2"))


def test_a_new_node_address_serves_node_ports_without_resolving_anything() -> None:
    """An address that appears is served at once; no route changes for it."""
    router = routed(
        svc("web", "10.96.0.1", type="NodePort", ports=[port(80, node_port=30_001)]),
        eps("web", "10.1.0.1"),
        node_port_addresses=("192.168.0.0/16",),
    )
    assert dial(router, "192.168.7.7", 30_001, OUTSIDE).action is Action.PASS

    changes = router.apply([host(NODE | {"addresses": [*NODE["addresses"], "192.168.7.7"]})])

    assert changes is not None
    assert (changes.node, changes.routes) == (True, ())
    assert reached(dial(router, "192.168.7.7", 30_001, OUTSIDE)) == {"10.1.0.1"}


def test_primary_opens_nothing_until_the_address_is_known() -> None:
    """The node's object comes late: NodePorts are closed until then, and open the moment it is told."""
    router = Router(settings(node_port_addresses=("primary",)))
    router.apply([svc("web", "10.96.0.1", type="NodePort", ports=[port(80, node_port=30_001)]), eps("web", "10.1.0.1")])
    router.apply([host(NODE), *SYNCED])
    assert dial(router, HERE, 30_001, OUTSIDE).action is Action.PASS

    router.apply([Upsert(node(NODE))])

    assert reached(dial(router, HERE, 30_001, OUTSIDE)) == {"10.1.0.1"}
    assert dial(router, "192.168.1.2", 30_001, OUTSIDE).action is Action.PASS


def test_a_zone_that_comes_late_narrows_all_services() -> None:
    """Hints count once the node's zone is known."""
    hinted = [endpoint(f"10.1.0.{n}") | {"hints": {"forZones": [{"name": f"zone-{n}"}]}} for n in (1, 2)]
    router = routed(svc("web", "10.96.0.1"), eps("web", *hinted))
    assert reached(dial(router, "10.96.0.1")) == {"10.1.0.1", "10.1.0.2"}

    item = node(NODE | {"labels": {"topology.kubernetes.io/zone": "zone-2"}})
    assert isinstance(item, Node)
    router.apply([Upsert(item)])

    assert reached(dial(router, "10.96.0.1")) == {"10.1.0.2"}


def test_weights_are_shares_and_zero_takes_nothing() -> None:
    """A slice's weight is the share of its endpoints; weight 0 leaves them out, and out of the health check."""
    local = endpoint("10.1.0.3", on="node-1")
    router = routed(
        svc("web", "10.96.0.1", type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=30_100),
        eps("web", "10.1.0.1", name="1"),
        eps("web", "10.1.0.2", name="2", annotations={"kproxy.io/weight": "3"}),
        eps("web", local, name="3", annotations={"kproxy.io/weight": "0"}),
    )
    shares = {one.endpoint.address: one.probability for one in dial(router, "10.96.0.1").candidates}

    assert shares == {"10.1.0.1": 0.25, "10.1.0.2": 0.75}
    health = router.table.services["shop/web"].health
    assert health is not None
    assert health.local_ready == 0
    router.apply([eps("web", local, name="3")])
    health = router.table.services["shop/web"].health
    assert health is not None
    assert health.local_ready == 1


@pytest.mark.parametrize(
    ("mode", "wishes", "answers"),
    [
        (Mode.IPTABLES, {"localhost_node_ports": True}, True),
        (Mode.IPTABLES, {"localhost_node_ports": True, "node_port_addresses": ("192.168.0.0/16",)}, False),
        (Mode.IPTABLES, {"localhost_node_ports": True, "node_port_addresses": ("localhost",)}, True),
        (Mode.IPTABLES, {"localhost_node_ports": False}, False),
        (Mode.NFTABLES, {"localhost_node_ports": True, "node_port_addresses": ("all",)}, False),
        (Mode.NFTABLES, {"localhost_node_ports": True, "node_port_addresses": ("all", "localhost")}, True),
        (Mode.USERSPACE, {"localhost_node_ports": True, "node_port_addresses": ("127.0.0.1/32",)}, True),
        (Mode.USERSPACE, {"localhost_node_ports": False, "node_port_addresses": ("localhost",)}, False),
        (Mode.USERSPACE, {"localhost_node_ports": True}, False),
        (Mode.IPVS, {"localhost_node_ports": True}, False),
        (Mode.IPVS, {"localhost_node_ports": True, "node_port_addresses": ("localhost",)}, True),
    ],
)
def test_loopback_node_ports(mode: Mode, wishes: dict[str, object], answers: bool) -> None:
    """In iptables mode loopback serves where the list covers it, in others where it is named; policies do not matter."""
    router = routed(
        svc("web", "10.96.0.1", type="NodePort", externalTrafficPolicy="Local", ports=[port(80, node_port=30_001)]),
        eps("web", endpoint("10.1.0.1", on="node-2")),
        mode=mode,
        **wishes,
    )
    meeting = dial(router, "127.0.0.1", 30_001, "127.0.0.1")

    assert reached(meeting) == ({"10.1.0.1"} if answers else set())
    assert all(one.masquerade for one in meeting.candidates)
    assert dial(router, "::1", 30_001, "::1").action is Action.PASS


def test_external_ips_can_be_switched_off() -> None:
    """Without the gate AllowServiceExternalIPs no externalIP is served, and nothing follows from it."""
    router = routed(
        svc("web", "10.96.0.1", externalIPs=["203.0.113.1"], externalTrafficPolicy="Local"),
        eps("web", "10.1.0.1"),
        external_ips=False,
    )

    assert dial(router, "203.0.113.1").action is Action.PASS
    assert reached(dial(router, "10.96.0.1")) == {"10.1.0.1"}


def test_deleting_everything_leaves_an_empty_table() -> None:
    """Nothing of a Service stays behind when it and its slices go, in any order."""
    router = routed(svc("web", "10.96.0.1"), eps("web", "10.1.0.1"))
    events: list[Event] = [Delete(Kind.ENDPOINT_SLICE, "shop/web-1"), Delete(Kind.SERVICE, "shop/web"), Host(())]

    for event in events:
        assert router.apply([event]) is not None
    assert router.table.services == {}
    assert router.table.node.ipv4.addresses == ()
