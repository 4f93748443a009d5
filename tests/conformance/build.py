# SPDX-License-Identifier: Apache-2.0
"""From a case's mappings to settings, events and a table, by the same code that the daemon runs."""

from collections.abc import Iterable
from typing import Any, Final

from kproxy.config.addresses import address_or_none
from kproxy.objects.decode import convert
from kproxy.objects.endpointslice import EndpointSlice
from kproxy.objects.events import Event, Host, HostAddress, Kind, Object, Synced, Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node, NodeAddress, NodeSpec, NodeStatus
from kproxy.objects.service import Service
from kproxy.objects.servicecidr import ServiceCIDR, ServiceCIDRSpec
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.addresses import canonical_address, family_of
from kproxy.table.routing_table import RoutingTable
from kproxy.table.terms import Family, Mode
from tests.conformance.applies import modes_of

Case = dict[str, Any]
LOOPBACK: Final = (HostAddress("lo", "127.0.0.1", 8), HostAddress("lo", "::1", 128))


def completed(case: Case) -> Case:
    """Fill in what a traffic case may leave out: an empty list, a node, and the source that ``from`` already tells."""
    if not case.get("flows"):
        return case
    node = {"name": "", **(case.get("node") or {})}
    node["addresses"] = list(node.get("addresses") or [])
    flows = [
        {"name": f"flow {number}", "protocol": "TCP", **flow} | {"src_ip": flow.get("src_ip") or _source(flow, node)}
        for number, flow in enumerate(case["flows"], 1)
    ]
    lists = {name: case.get(name) or [] for name in ("services", "endpointslices")}
    return case | lists | {"node": node, "flows": flows, "config": case.get("config") or {}}


def _source(flow: Case, node: Case) -> str:
    """Return where a flow comes from that names no source: an address as ``from``, or the node's own of the family."""
    origin, family = str(flow.get("from") or ""), family_of(str(flow.get("dst_ip") or ""))
    if address_or_none(origin) is not None:
        return origin
    own = [*(node.get("primary") or {}).values(), *node["addresses"]]
    return next((address for address in own if origin == "node" and family_of(address) is family), "")


def settings_of(case: Case, mode: Mode) -> Settings:
    """Read ``config``: names of the v1alpha1 file, those of a mode's section with or without it."""
    config = case.get("config") or {}
    section = config.get("nftables" if mode is Mode.NFTABLES else "iptables") or {}
    detect = config.get("detectLocal") or {}
    localhost = config.get("localhostNodePorts", section.get("localhostNodePorts"))
    return Settings(
        node=case.get("node", {}).get("name", ""),
        mode=mode,
        masquerade_all=bool(config.get("masqueradeAll", section.get("masqueradeAll", False))),
        masquerade_bit=config.get("masqueradeBit", section.get("masqueradeBit", 14)),
        detect_local_mode=config.get("detectLocalMode") or "ClusterCIDR",
        cluster_cidrs=tuple(filter(None, (config.get("clusterCIDR") or "").split(","))),
        bridge_interface=detect.get("bridgeInterface", ""),
        interface_name_prefix=detect.get("interfaceNamePrefix", ""),
        node_port_addresses=tuple(config.get("nodePortAddresses") or _default_addresses(case, mode)),
        localhost_node_ports=localhost is not False,
        bind_address=config.get("bindAddress") or "0.0.0.0",
    )


def _default_addresses(case: Case, mode: Mode) -> tuple[str, ...]:
    """Return what nothing said of NodePort addresses means: a case that ipvs inherits expects what it means in nftables."""
    return ("primary",) if mode is Mode.IPVS and mode.value not in modes_of(case) else ()


def service(manifest: Case) -> Service:
    """Read a Service, its ``kind`` left out or not."""
    item = convert(Kind.SERVICE, {**manifest, "kind": "Service"})
    assert isinstance(item, Service)
    return item


def endpointslice(manifest: Case) -> EndpointSlice:
    """Read an EndpointSlice, its ``kind`` left out or not."""
    item = convert(Kind.ENDPOINT_SLICE, {**manifest, "kind": "EndpointSlice"})
    assert isinstance(item, EndpointSlice)
    return item


def node(mapping: Case) -> Node:
    """Read a node; its primary addresses become its InternalIPs, in the order they are written."""
    primary = mapping.get("primary") or {}
    cidrs = tuple(mapping.get("podCIDRs") or ())
    return Node(
        metadata=Meta(name=mapping["name"], labels=mapping.get("labels")),
        spec=NodeSpec(pod_cidr=cidrs[0] if cidrs else None, pod_cidrs=cidrs or None),
        status=NodeStatus(tuple(NodeAddress("InternalIP", address) for address in primary.values())),
    )


def host(mapping: Case) -> Host:
    """Read a node's addresses: all on one interface, beside the loopback ones."""
    own = {
        HostAddress("eth0", canonical_address(address), 128 if ":" in address else 32)
        for address in mapping.get("addresses") or ()
    }
    return Host(tuple(sorted({*own, *LOOPBACK})))


def events_of(case: Case) -> list[Event]:
    """Tell everything a case holds, then that it was everything."""
    items: list[Object] = [service(manifest) for manifest in case.get("services") or ()]
    items += [endpointslice(manifest) for manifest in case.get("endpointslices") or ()]
    cidrs = tuple((case.get("config") or {}).get("serviceCIDRs") or ())
    if cidrs:
        items.append(ServiceCIDR(Meta(name="kubernetes"), ServiceCIDRSpec(cidrs)))
    events: list[Event] = []
    if "node" in case:
        items.append(node(case["node"]))
        events.append(host(case["node"]))
    return [*events, *upserts(items), *SYNCED]


def upserts(items: Iterable[Object]) -> list[Event]:
    """Tell objects."""
    return [Upsert(item) for item in items]


SYNCED: Final[tuple[Event, ...]] = (Synced(Kind.SERVICE), Synced(Kind.ENDPOINT_SLICE))


def table_of(case: Case, mode: Mode) -> RoutingTable:
    """Return the table of a traffic case in one mode."""
    router = Router(settings_of(case, mode))
    router.apply(events_of(case))
    return router.table


def families_of(case: Case) -> list[Family]:
    """Return the families a case's flows are of."""
    return [family for family in Family if any((":" in flow["dst_ip"]) == (family is Family.IPV6) for flow in case["flows"])]
