# SPDX-License-Identifier: Apache-2.0
"""Which virtual servers a route needs, and what each class of client meets at its frontends."""

import msgspec
import pytest

from kproxy.dataplanes.ipvs.frontends import Appearance, World, appearance
from kproxy.dataplanes.ipvs.layout import CLIENTS, Answer, Kind, Options
from kproxy.dataplanes.nft_tables import Facts
from kproxy.kernel.ipvs_values import VirtualServer
from kproxy.kernel.nft_elements import Codec, read_number
from kproxy.table.node import NodePortAddresses
from kproxy.table.route import Route
from kproxy.table.terms import Client, EndpointSet, Family, Method
from tests.unit.dataplanes.tables import EXTERNAL_LOCAL, balancer_ip, endpoint, frontend, node, nodeport, route

V4 = Family.IPV4
HERE, THERE = endpoint(V4, 1, local=True), endpoint(V4, 2)


def world(options: Options | None = None, missing: frozenset[str] = frozenset()) -> World:
    """Return a node with two addresses, on which NodePorts are served everywhere."""
    facts = node(V4, addresses=("127.0.0.1", "192.0.2.1", "192.0.2.2"), nodeports=NodePortAddresses(every=True))
    return World(V4, options or Options(), Facts.of(facts, V4), Codec(V4), lambda _kind, _name: 7, missing)


def answers(looks: Appearance, kind: Kind) -> dict[Client, Answer]:
    """Return what each class of client meets at the only frontend of a kind."""
    found = {}
    for client in CLIENTS:
        for name in (kind.answers(client), kind.answers(Client.OUTSIDE)):
            held = [data for (each, *_), data in looks.elements.items() if each == name and data]
            if held:
                found[client] = Answer(read_number(held[0]))
                break
    return found


def servers(looks: Appearance) -> dict[str, set[str]]:
    """Return the real servers of each virtual server, by its text; marks as what they say."""
    found = {}
    for key, pool in looks.servers.items():
        mark = Options().marks.unpack(key.mark) if key.mark else None
        found[f"{mark.endpoints} {mark.masquerade:d}{mark.masquerade_node:d}" if mark else str(key)] = set(pool.reals)
    return found


def test_a_cluster_ip_has_the_virtual_server_of_its_address() -> None:
    """Everybody is sent to it; who is no Pod of this node is masqueraded."""
    looks = appearance(route(V4, "web", [frontend(V4, 1)], [HERE, THERE]), world())

    assert servers(looks) == {"-t 10.96.0.1:80": {HERE.key, THERE.key}}
    assert answers(looks, Kind.SERVICE) == {
        Client.POD: Answer.SERVER,
        Client.NODE: Answer.SERVER_MASQUERADED,
        Client.OUTSIDE: Answer.SERVER_MASQUERADED,
    }


def test_under_policy_local_pods_and_the_node_have_a_virtual_server_of_their_own() -> None:
    """Outside clients meet local endpoints only; the other one masquerades what the node itself sends."""
    looks = appearance(route(V4, "web", [balancer_ip(V4, 1)], [HERE, THERE], external=EXTERNAL_LOCAL), world())

    assert servers(looks) == {"-t 10.203.0.1:80": {HERE.key}, f"{EndpointSet.ALL} 01": {HERE.key, THERE.key}}
    assert answers(looks, Kind.SERVICE) == {
        Client.POD: Answer.MARK,
        Client.NODE: Answer.MARK,
        Client.OUTSIDE: Answer.SERVER,
    }


def test_without_a_local_endpoint_outside_clients_are_dropped_and_the_others_served() -> None:
    """The virtual server of the address is not there at all: it could only hold what outside clients must not meet."""
    looks = appearance(route(V4, "web", [balancer_ip(V4, 1)], [THERE], external=EXTERNAL_LOCAL), world())

    assert servers(looks) == {f"{EndpointSet.ALL} 01": {THERE.key}}
    assert answers(looks, Kind.SERVICE)[Client.OUTSIDE] is Answer.DROP
    assert answers(looks, Kind.SERVICE)[Client.POD] is Answer.MARK


def test_a_node_port_has_one_virtual_server_for_all_addresses() -> None:
    """It is known by a mark, which also says that its clients are masqueraded."""
    looks = appearance(route(V4, "web", [nodeport(30001)], [HERE, THERE]), world())

    assert servers(looks) == {f"{EndpointSet.ALL} 10": {HERE.key, THERE.key}}
    assert set(answers(looks, Kind.NODEPORT).values()) == {Answer.MARK}


def test_a_node_port_with_affinity_has_one_on_each_address() -> None:
    """IPVS would keep the port that was dialled if it knew it by mark; loopback addresses are not its business."""
    looks = appearance(route(V4, "web", [nodeport(30001)], [HERE], affinity=600), world())

    assert servers(looks) == {"-t 192.0.2.1:30001": {HERE.key}, "-t 192.0.2.2:30001": {HERE.key}}
    assert {pool.server.persistence for pool in looks.servers.values()} == {600}


def test_affinity_of_clients_led_by_mark_is_kept_by_a_hash_and_told() -> None:
    """Pods and the node under policy Local: mh, or sh where the kernel lacks it; without a time-out, as the limit says."""
    web = route(V4, "web", [balancer_ip(V4, 1)], [HERE, THERE], external=EXTERNAL_LOCAL, affinity=600)
    for missing, scheduler in ((frozenset[str](), "mh"), (frozenset(["mh"]), "sh")):
        looks = appearance(web, world(missing=missing))
        by_mark = next(pool.server for key, pool in looks.servers.items() if key.mark)
        assert (by_mark.scheduler, by_mark.persistence) == (scheduler, 0)
        assert "hash" in looks.limit


def test_endpoints_of_weight_zero_serve_nobody_new() -> None:
    """With none else the Service is refused, as if it had no endpoint."""
    looks = appearance(route(V4, "web", [frontend(V4, 1)], [endpoint(V4, 1, weight=0)]), world())

    assert looks.servers == {}
    assert set(answers(looks, Kind.SERVICE).values()) == {Answer.REJECT}


def scheduled(asked: Route, options: Options | None = None, missing: frozenset[str] = frozenset()) -> VirtualServer:
    """Return the virtual server of a route's ClusterIP."""
    (pool,) = appearance(asked, world(options, missing)).servers.values()
    return pool.server


@pytest.mark.parametrize("method", [method for method in Method if method is not Method.RANDOM])
def test_every_scheduler_can_be_asked_for(method: Method) -> None:
    """Method names are IPVS's; ``random`` leaves the choice to the mode's own default."""
    plain = route(V4, "web", [frontend(V4, 1)], [HERE, THERE])

    assert scheduled(msgspec.structs.replace(plain, method=method)).scheduler == method.value
    assert scheduled(plain, Options(scheduler=method.value)).scheduler == method.value


def test_weights_count_where_nobody_asked_for_a_scheduler_without() -> None:
    """The default follows weights that differ; a Service that asks for rr gets rr."""
    heavy = route(V4, "web", [frontend(V4, 1)], [HERE, endpoint(V4, 2, weight=3)])

    assert scheduled(heavy).scheduler == "wrr"
    assert scheduled(heavy, Options(scheduler="lc")).scheduler == "wlc"
    assert scheduled(msgspec.structs.replace(heavy, method=Method.RR)).scheduler == "rr"


def test_mh_hashes_the_client_alone_unless_it_is_the_default() -> None:
    """As the default it spreads each client's connections, which is what kube-proxy's users of it have."""
    plain = route(V4, "web", [frontend(V4, 1)], [HERE, THERE])

    assert scheduled(plain, Options(scheduler="mh")).scheduler_flags == 2
    assert scheduled(msgspec.structs.replace(plain, method=Method.MH)).scheduler_flags == 0


def test_a_missing_scheduler_is_replaced_and_told() -> None:
    """The limit names the module."""
    asked = route(V4, "web", [frontend(V4, 1)], [HERE], method=Method.SED)
    looks = appearance(asked, world(missing=frozenset(["sed"])))

    assert next(iter(looks.servers.values())).server.scheduler == "rr"
    assert "ip_vs_sed" in looks.limit
