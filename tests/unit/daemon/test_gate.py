# SPDX-License-Identifier: Apache-2.0
"""Nothing is committed from half of a cluster, and nothing that only refines is waited for without end."""

import math

import pytest

from kproxy.daemon.gate import NODE_WAIT, POD_CIDR_WAIT, REFINING_WAIT, Gate
from kproxy.objects.events import Host, Kind, Synced, Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node, NodeAddress, NodeSpec, NodeStatus
from kproxy.table.errors import ConfigError

START = 1_000.0
WITH_ADDRESS = NodeStatus((NodeAddress("InternalIP", "192.168.1.1"),))


def _node(name: str = "n1", *, status: NodeStatus | None = None, cidrs: tuple[str, ...] = ()) -> Upsert:
    return Upsert(Node(Meta(name), NodeSpec(pod_cidrs=cidrs), status or NodeStatus()))


def _gate(*, wants_node: bool = True, wants_pod_cidrs: bool = False) -> Gate:
    gate = Gate(START, node="n1", wants_node=wants_node, wants_pod_cidrs=wants_pod_cidrs)
    for event in (Synced(Kind.SERVICE), Synced(Kind.ENDPOINT_SLICE), Synced(Kind.SERVICE_CIDR), Host(())):
        gate.note(event)
    return gate


def test_services_and_slices_are_waited_for_without_end() -> None:
    """Nobody knows better than what the kernel holds already."""
    gate = Gate(START, node="n1", wants_node=False)
    gate.note(Synced(Kind.SERVICE))
    assert gate.opens_at() == math.inf
    gate.note(Synced(Kind.ENDPOINT_SLICE))
    assert gate.opens_at() == START + REFINING_WAIT
    assert gate.missing() == ("ServiceCIDRs", "this host's addresses")


def test_everything_known_opens_at_once() -> None:
    """No time is spent waiting for what is there."""
    gate = _gate()
    gate.note(_node(status=WITH_ADDRESS))
    assert gate.opens_at() == -math.inf


def test_a_node_without_addresses_is_waited_for_half_a_minute_and_then_does_without() -> None:
    """A cloud may set them through a Service of ours."""
    gate = _gate()
    gate.note(_node())
    gate.note(_node("n2", status=WITH_ADDRESS))
    assert gate.opens_at() == START + NODE_WAIT
    gate.check()


def test_manifests_wait_for_no_node() -> None:
    """There may be no Node object at all."""
    assert _gate(wants_node=False).opens_at() == -math.inf


def test_node_ranges_that_the_configuration_needs_are_waited_for_and_missed() -> None:
    """NodeCIDR mode cannot tell pods without them."""
    gate = _gate(wants_pod_cidrs=True)
    gate.note(_node(status=WITH_ADDRESS))
    assert gate.opens_at() == START + NODE_WAIT + POD_CIDR_WAIT
    with pytest.raises(ConfigError, match="podCIDRs"):
        gate.check()
    gate.note(_node(status=WITH_ADDRESS, cidrs=("10.244.0.0/24",)))
    assert gate.opens_at() == -math.inf
    gate.check()
