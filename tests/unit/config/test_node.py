# SPDX-License-Identifier: Apache-2.0
"""What the settings come to on a node: its addresses, NodePort addresses, local pods, families."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.config.addresses import append_port, by_family, split_port
from kproxy.config.decode import configuration_of
from kproxy.config.family_checks import check_families, check_node_port_addresses
from kproxy.config.feature_gates import GATES, enabled
from kproxy.config.local_detection import pod_cidrs, pod_tests
from kproxy.config.node_ips import node_addresses, node_ips
from kproxy.config.node_ports import node_port_ranges
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node, NodeAddress, NodeSpec, NodeStatus
from kproxy.table.node import PodTest
from kproxy.table.terms import Family

V4, V6 = Family.IPV4, Family.IPV6
NODE = {V4: "192.0.2.1", V6: "2001:db8::1"}
HOST = ("127.0.0.1", "192.0.2.1", "198.51.100.9", "::1", "2001:db8::1", "fe80::1")


@pytest.mark.parametrize(
    ("configured", "known", "ipv4", "ipv6"),
    [
        ((), NODE, ("127.0.0.1", "192.0.2.1", "198.51.100.9"), ("2001:db8::1", "::1", "fe80::1")),
        (("primary",), NODE, ("192.0.2.1",), ("2001:db8::1",)),
        (("primary",), {}, (), ()),
        (("primary",), {V4: "192.0.2.1"}, ("192.0.2.1",), ()),
        (("localhost",), NODE, ("127.0.0.1",), ("::1",)),
        (("all",), {}, ("127.0.0.1", "192.0.2.1", "198.51.100.9"), ("2001:db8::1", "::1", "fe80::1")),
        (("primary", "198.51.100.0/24"), NODE, ("192.0.2.1", "198.51.100.9"), ("2001:db8::1",)),
        (("localhost", "primary"), {V4: "192.0.2.1"}, ("127.0.0.1", "192.0.2.1"), ("::1",)),
        (("198.51.100.0/24",), NODE, ("198.51.100.9",), ("2001:db8::1", "::1", "fe80::1")),
        (("203.0.113.0/24",), NODE, (), ("2001:db8::1", "::1", "fe80::1")),
    ],
)
def test_node_port_addresses(
    configured: tuple[str, ...], known: dict[Family, str], ipv4: tuple[str, ...], ipv6: tuple[str, ...]
) -> None:
    """Keywords and CIDRs mix; a family without an entry is open; primary opens nothing where the address is not known."""
    ranges = node_port_ranges(configured, known)

    assert ranges[V4].select(HOST) == ipv4
    assert ranges[V6].select(HOST) == ipv6


_PREFIX = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)).map(
    lambda pair: str(ipaddress.ip_network(pair, strict=False))
)


@given(
    st.lists(_PREFIX, min_size=1), st.lists(st.integers(0, 2**32 - 1).map(lambda number: str(ipaddress.ip_address(number))))
)
def test_selection_is_containment(prefixes: list[str], addresses: list[str]) -> None:
    """Without a prefix of length zero, exactly the addresses within a prefix are selected."""
    ranges = node_port_ranges(prefixes, {})[V4]
    expected = {a for a in addresses if any(ipaddress.ip_address(a) in ipaddress.ip_network(p) for p in prefixes)}

    assert not ranges.every
    assert set(ranges.select(addresses)) == expected


@pytest.mark.parametrize(
    ("addresses", "bind", "primary", "known"),
    [
        ((), "", V4, {}),
        (("192.0.2.1",), "::", V4, {V4: "192.0.2.1"}),
        (("2001:db8::1", "192.0.2.1", "192.0.2.2"), "", V6, NODE),
        (("192.0.2.1", "2001:db8::1"), "2001:db8::7", V6, {V4: "192.0.2.1", V6: "2001:db8::7"}),
        (("nonsense", "010.0.0.1"), "", V4, {V4: "10.0.0.1"}),
        (("192.0.2.1",), "nonsense", V4, {V4: "192.0.2.1"}),
    ],
)
def test_node_ips(addresses: tuple[str, ...], bind: str, primary: Family, known: dict[Family, str]) -> None:
    """A concrete bind address beats the Node's, the first of the Node's settles the family, loopback stands for none."""
    found = node_ips(addresses, bind)

    assert (found.primary, found.known) == (primary, known)
    assert {found.of(family) for family in Family if family not in known} <= {"127.0.0.1", "::1"}


def test_addresses_of_a_node() -> None:
    """InternalIPs come before ExternalIPs, other kinds and what is no address are left out."""
    reported = (("Hostname", "n"), ("ExternalIP", "198.51.100.1"), ("InternalIP", "bad"), ("InternalIP", "2001:DB8::1"))
    node = Node(Meta(name="n"), status=NodeStatus(tuple(NodeAddress(kind, address) for kind, address in reported)))

    assert node_addresses(node) == ("2001:db8::1", "198.51.100.1")
    assert node_addresses(None) == ()


def test_pod_ranges_of_a_node() -> None:
    """The list counts, the singular field where it is missing, nothing for a Node that is not there."""
    assert pod_cidrs(Node(Meta(name="n"), NodeSpec("10.0.0.0/24", ("10.1.0.0/24", "fd00::/64")))) == (
        "10.1.0.0/24",
        "fd00::/64",
    )
    assert pod_cidrs(Node(Meta(name="n"), NodeSpec("10.0.0.0/24"))) == ("10.0.0.0/24",)
    assert pod_cidrs(None) == ()


def test_local_detection() -> None:
    """Of each family the first prefix counts; names count for both; an empty name and an unknown mode tell nothing."""
    nothing = {V4: None, V6: None}

    assert pod_tests("ClusterCIDR", cluster_cidrs=["10.0.0.1/8", "11.0.0.0/8"]) == {V4: PodTest(cidr="10.0.0.0/8"), V6: None}
    assert pod_tests("NodeCIDR", cluster_cidrs=["10.0.0.0/8"]) == nothing
    assert pod_tests("BridgeInterface", bridge_interface="cbr0") == dict.fromkeys(Family, PodTest(interface="cbr0"))
    assert pod_tests("InterfaceNamePrefix") == nothing
    assert pod_tests("Magic", cluster_cidrs=["10.0.0.0/8"]) == nothing


def test_misfits_name_the_field_and_the_mend() -> None:
    """Each complaint names the setting; only what leaves nothing to work with is fatal."""
    config = configuration_of({
        "clusterCIDR": "fd00::/64", "detectLocalMode": "ClusterCIDR", "nodePortAddresses": ["fd00::/64"],
        "healthzBindAddress": "[fd00::1]:10256", "metricsBindAddress": "[::]:10249", "ipvs": {"excludeCIDRs": ["fd00::/64"]},
        "winkernel": {"sourceVip": "fd00::1"},
    })  # fmt: skip
    alone = list(check_families(config, V4, ["fd00:1::/64"], dual_stack=False))
    both = list(check_families(config, V4, ["fd00:1::/64"], dual_stack=True))
    ports = list(check_node_port_addresses(config, V4))

    named = ["clusterCIDR", "spec.podCIDRs", "winkernel.sourceVip", "ipvs.excludeCIDRs", "healthzBindAddress"]
    assert [name for misfit in alone for name in named if name in misfit.words] == named
    assert [misfit.fatal for misfit in alone] == [True, False, False, False, False]
    assert [misfit.fatal for misfit in both] == [False, False, False]
    assert "nodePortAddresses holds only IPv6 prefixes" in ports[0].words


def test_feature_gates() -> None:
    """A gate is as set, else as its stage's group is set, else as by default; finished ones follow no group."""
    assert enabled({}, "KubeProxyIPVS")
    assert not enabled({"KubeProxyIPVS": False}, "KubeProxyIPVS")
    assert enabled({"AllAlpha": True}, "LoggingAlphaOptions")
    assert not enabled({"AllAlpha": True, "LoggingAlphaOptions": False}, "LoggingAlphaOptions")
    assert not enabled({"AllBeta": False}, "WatchListClient")
    assert all(gate.stage == "GA" for gate in GATES.values() if gate.locked)


@pytest.mark.parametrize("text", ["", "10.0.0.1", "10.0.0.1:", "[::1]", "::1", "[::1]80", "a:b:c", "[1.2.3.4]:5"])
def test_default_port(text: str) -> None:
    """Only a bare address gets the port; whatever else, right or wrong, is handed back."""
    bare = {"10.0.0.1": "10.0.0.1:80", "::1": "[::1]:80"}

    assert append_port(text, 80) == bare.get(text, text)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_split_undoes_append(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    """Any address with its port splits into the two again."""
    assert split_port(append_port(str(address), port)) == (str(address), str(port))


def test_prefixes_by_family() -> None:
    """Prefixes are canonical and keep their order; what is none is left out."""
    found = by_family([" 10.1.2.3/8", "fd00::1/64", "x", "", "1.2.3.4/255.0.0.0", "9.0.0.0/8", "fe80::1%eth0/64"])

    assert found == {V4: ("10.0.0.0/8", "9.0.0.0/8"), V6: ("fd00::/64",)}
