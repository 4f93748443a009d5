# SPDX-License-Identifier: Apache-2.0
"""An explanation names the route, the frontend, the candidates, and for each endpoint left out the reason."""

import pytest

from kproxy.objects.decode import convert
from kproxy.objects.events import Kind, Synced, Upsert
from kproxy.observe.explain import Explanation, as_text, explain, service_of
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.routing.trace import trace_service
from kproxy.table.interpret import Packet
from kproxy.table.terms import Action, Mode, Protocol

SERVICE = {
    "metadata": {"namespace": "shop", "name": "web"},
    "spec": {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.1",
        "externalIPs": ["192.0.2.1"],
        "externalTrafficPolicy": "Local",
        "sessionAffinity": "ClientIP",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}],
    },
}
SLICE = {
    "metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
    "addressType": "IPv4",
    "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    "endpoints": [
        {"addresses": ["10.244.0.1"], "nodeName": "n1", "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-a"}},
        {"addresses": ["10.244.1.1"], "nodeName": "n2", "zone": "b"},
        {"addresses": ["10.244.1.2"], "nodeName": "n2", "conditions": {"ready": False}},
    ],
}


def _explained(packet: Packet) -> Explanation:
    router = Router(Settings(mode=Mode.NFTABLES, node="n1", cluster_cidrs=("10.244.0.0/24",)))
    objects = [Upsert(convert(Kind.SERVICE, SERVICE)), Upsert(convert(Kind.ENDPOINT_SLICE, SLICE))]
    assert router.apply([*objects, *map(Synced, Kind)]) is not None
    name = service_of(packet, router.table)
    shape = router.store.services.get(name)
    traces = trace_service(shape, router.store.slices_of(name), router.view) if shape else ()
    return explain(packet, router.table, {trace.key: trace for trace in traces}, ["a note"])


def test_a_cluster_ip_is_balanced_over_all_nodes() -> None:
    """Half and half, and the third is named with its reason."""
    text = as_text(_explained(Packet("10.244.0.9", "10.96.0.1", 80)))
    assert "10.244.0.9 > 10.96.0.1:80/TCP" in text
    assert "route     shop/web:http/TCP/IPv4" in text
    assert "a Pod on this node" in text
    assert "50.00%  10.244.0.1:8080 (Pod web-a, node n1, local), source kept" in text
    assert "50.00%  10.244.1.1:8080 (node n2, zone b), source kept" in text
    assert "10.244.1.2:8080 (node n2): not ready" in text
    assert "10800 s" in text
    assert "note      a note" in text


def test_a_local_policy_names_whom_it_leaves_out() -> None:
    """From outside only this node's endpoint counts."""
    explanation = _explained(Packet("198.51.100.1", "192.0.2.1", 80))
    assert [one.endpoint.key for one in explanation.meeting.candidates] == ["10.244.0.1:8080"]
    assert [one.endpoint.key for one in explanation.left_out] == ["10.244.1.1:8080", "10.244.1.2:8080"]
    assert "policy Local takes those of n1 only" in explanation.left_out[0].why


def test_a_hairpin_is_masqueraded() -> None:
    """Whoever is sent to itself could not be answered otherwise."""
    explanation = _explained(Packet("10.244.0.1", "10.96.0.1", 80))
    assert {one.endpoint.key: one.masquerade for one in explanation.meeting.candidates} == {
        "10.244.0.1:8080": True,
        "10.244.1.1:8080": False,
    }


def test_what_is_nobodys_is_passed() -> None:
    """And no Service is named."""
    explanation = _explained(Packet("10.244.0.9", "203.0.113.9", 443, Protocol.UDP))
    assert explanation.meeting.action is Action.PASS
    assert "is no Service's" in as_text(explanation)


def test_two_families_in_one_packet_are_refused() -> None:
    """With the packet in the sentence."""
    with pytest.raises(ValueError, match="two families"):
        _explained(Packet("fd00::1", "10.96.0.1", 80))
