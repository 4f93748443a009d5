# SPDX-License-Identifier: Apache-2.0
"""Small clusters in which everything collides: few names, few addresses, every policy, every state."""

from typing import Any, Final

from hypothesis import strategies as st

from kproxy.objects.endpointslice import EndpointSlice
from kproxy.objects.events import Delete, Event, Host, HostAddress, Kind, Synced, Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node, NodeAddress, NodeStatus
from kproxy.objects.service import Service
from kproxy.objects.servicecidr import ServiceCIDR, ServiceCIDRSpec
from kproxy.routing.settings import Settings
from kproxy.table.terms import Family, Mode
from tests.conformance.build import endpointslice, service

NODE: Final = "node-1"
NAMES: Final = ("api", "dns", "web")
NODES: Final = (NODE, "node-2", None)
ZONES: Final = ("zone-a", "zone-b")
NODE_ADDRESSES: Final = ("192.168.0.2", "192.168.1.2", "2001:db8::2")
SHARED: Final = ("192.168.0.2", "203.0.113.10", "2001:db8::10")  # one of them is a node address
PORTS: Final = (("http", "TCP", 80), ("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("sip", "SCTP", 5060))
SYNCED: Final[tuple[Event, ...]] = (Synced(Kind.SERVICE), Synced(Kind.ENDPOINT_SLICE))

policies = st.sampled_from(["Cluster", "Local"])


@st.composite
def services(draw: st.DrawFn, name: str | None = None) -> Service:
    """Draw a Service: its cluster IPs follow from its name, all else may be another's too."""
    name = name or draw(st.sampled_from(NAMES))
    number = NAMES.index(name) + 1
    families = draw(st.sampled_from([["IPv4"], ["IPv6"], ["IPv4", "IPv6"]]))
    own = {"IPv4": f"10.96.0.{number}", "IPv6": f"fd00:96::{number}"}
    kind = draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]))
    labels = draw(st.sampled_from([{}, {}, {}, {"service.kubernetes.io/service-proxy-name": "other"}]))
    spec: dict[str, Any] = {
        "type": kind,
        "clusterIP": own[families[0]],
        "clusterIPs": [own[family] for family in families],
        "ipFamilies": families,
        "internalTrafficPolicy": draw(policies),
        "externalTrafficPolicy": draw(policies),
        "sessionAffinity": draw(st.sampled_from(["None", "ClientIP"])),
        "externalIPs": draw(st.lists(st.sampled_from(SHARED), max_size=2)),
        "loadBalancerSourceRanges": draw(st.sampled_from([[], [], ["192.168.0.0/16"], ["2001:db8::/32", "10.0.0.0/8"]])),
        "healthCheckNodePort": draw(st.sampled_from([0, 30_900])),
        "ports": [
            {"name": port, "protocol": protocol, "port": number, "nodePort": draw(st.sampled_from([0, 30_001, 30_002]))}
            for port, protocol, number in draw(st.lists(st.sampled_from(PORTS), min_size=1, unique=True))
        ],
    }
    ingress = draw(st.lists(st.sampled_from(SHARED), max_size=2)) if kind == "LoadBalancer" else []
    return service(
        {
            "metadata": {
                "namespace": "shop",
                "name": name,
                "labels": labels,
                "resourceVersion": draw(st.sampled_from(["1", "2"])),
                "creationTimestamp": draw(st.sampled_from([None, "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"])),
            },
            "spec": spec,
            "status": {"loadBalancer": {"ingress": [{"ip": address} for address in ingress]}},
        }
    )


@st.composite
def slices(draw: st.DrawFn, key: str | None = None) -> EndpointSlice:
    """Draw a slice: the same few endpoints turn up in any of them."""
    name, number = (key or draw(st.sampled_from([f"{name}-{number}" for name in NAMES for number in (1, 2)]))).split("-")
    owner = draw(st.sampled_from([name, name, name, "web"]))
    labels = {"kubernetes.io/service-name": owner} | draw(st.sampled_from([{}, {}, {"service.kubernetes.io/headless": ""}]))
    family = draw(st.sampled_from(["IPv4", "IPv4", "IPv6", "FQDN"]))
    prefix = "fd00:1::" if family == "IPv6" else "10.1.0."
    numbers = st.integers(1, 9)
    endpoint = st.fixed_dictionaries(
        {
            "addresses": numbers.map(lambda last: [f"{prefix}{last}"]),
            "nodeName": st.sampled_from(NODES),
            "conditions": st.fixed_dictionaries(
                {state: st.sampled_from([None, True, False]) for state in ("ready", "serving", "terminating")}
            ),
            "hints": st.fixed_dictionaries(
                {
                    "forZones": st.lists(st.sampled_from(ZONES).map(lambda zone: {"name": zone}), max_size=2),
                    "forNodes": st.lists(st.sampled_from([NODE, "node-2"]).map(lambda one: {"name": one}), max_size=2),
                }
            ),
        }
    )
    return endpointslice(
        {
            "metadata": {
                "namespace": "shop",
                "name": f"{name}-{number}",
                "labels": labels,
                "annotations": draw(st.sampled_from([{}, {}, {"kproxy.io/weight": "0"}, {"kproxy.io/weight": "3"}])),
            },
            "addressType": family,
            "ports": [
                {"name": port, "protocol": protocol, "port": number + 8000}
                for port, protocol, number in draw(st.lists(st.sampled_from(PORTS), unique=True))
            ],
            "endpoints": draw(st.lists(endpoint, max_size=5)),
        }
    )


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """Draw this node's object."""
    addresses = draw(st.sampled_from([(), NODE_ADDRESSES, NODE_ADDRESSES[:1], NODE_ADDRESSES[::-1]]))
    return Node(
        metadata=Meta(name=NODE, labels=draw(st.sampled_from([None, {"topology.kubernetes.io/zone": "zone-a"}]))),
        status=NodeStatus(tuple(NodeAddress("InternalIP", address) for address in addresses)),
    )


def host(addresses: tuple[str, ...] = NODE_ADDRESSES) -> Host:
    """Tell the node's interfaces."""
    own = [HostAddress("eth0", address, 64) for address in addresses]
    return Host(tuple(sorted([*own, HostAddress("lo", "127.0.0.1", 8), HostAddress("lo", "::1", 128)])))


settings = st.builds(
    Settings,
    mode=st.sampled_from(list(Mode)),
    node=st.just(NODE),
    masquerade_all=st.booleans(),
    cluster_cidrs=st.sampled_from([(), ("10.1.0.0/16", "fd00:1::/64"), ("10.1.0.0/16",)]),
    node_port_addresses=st.sampled_from([(), ("primary",), ("all",), ("127.0.0.0/8", "192.168.0.0/24")]),
    localhost_node_ports=st.booleans(),
)

updates = st.one_of(
    services().map(Upsert),
    slices().map(Upsert),
    nodes().map(Upsert),
    st.sampled_from(NAMES).map(lambda name: Delete(Kind.SERVICE, f"shop/{name}")),
    st.sampled_from([Delete(Kind.ENDPOINT_SLICE, f"shop/{name}-{number}") for name in NAMES for number in (1, 2)]),
    st.sampled_from([host(), host(NODE_ADDRESSES[:1]), host(())]),
    st.sampled_from([("10.96.0.0/16",), ("10.96.0.0/24", "fd00:96::/64"), ()]).map(
        lambda cidrs: Upsert(ServiceCIDR(Meta(name="kubernetes"), ServiceCIDRSpec(cidrs)))
    ),
    st.just(Delete(Kind.SERVICE_CIDR, "kubernetes")),
)
histories: st.SearchStrategy[list[Event]] = st.lists(updates, max_size=25)


@st.composite
def batches(draw: st.DrawFn) -> list[list[Event]]:
    """Draw a history cut into batches; everything is synced somewhere on the way."""
    history = draw(histories)
    for synced in SYNCED:
        history.insert(draw(st.integers(0, len(history))), synced)
    cut: list[list[Event]] = [[]]
    for event in history:
        if draw(st.booleans()):
            cut.append([])
        cut[-1].append(event)
    return cut


def last_told(history: list[Event]) -> list[Event]:
    """Return only the last word on each object of a history: what a relist would tell."""
    words: dict[object, Event] = {}
    for event in history:
        match event:
            case Upsert(object=item):
                words[type(item).__name__, item.metadata.key] = event
            case Delete(kind=kind, key=key):
                words.pop((kind.value, key), None)
            case Host():
                words["host"] = event
            case _:
                pass
    return list(words.values())


def family_addresses(family: Family) -> str:
    """Return an address of somebody outside."""
    return "198.51.100.7" if family is Family.IPV4 else "2001:db8:ffff::7"
