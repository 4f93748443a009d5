# SPDX-License-Identifier: Apache-2.0
"""From a case's flows to dials, and from what they met to a verdict on the case.

How often a flow is dialled follows from how many endpoints it may reach: until each was seen, and often enough that one it
must not reach would be seen too. A fair choice of n endpoints hides one of them for k dials with probability
n(1 - 1/n)^k; ``CONFIDENCE`` bounds that.
"""

import contextlib
import ipaddress
import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from kproxy.table.addresses import canonical_address, join_port, parse_address, parse_network
from kproxy.table.terms import Protocol
from tests.conformance.packets.dial import Dial, Dials, Met, Outcome
from tests.conformance.packets.node import LOCAL, Node

Case: TypeAlias = dict[str, Any]
Flow: TypeAlias = dict[str, Any]

CONFIDENCE: Final = 1e-9
REPEATS: Final = 4  # dials of a flow that has one answer only
UNTOUCHED: Final = frozenset({"NONE", "ACCEPT"})  # ACCEPT: let through by a rule; on the wire the same


class Surroundings(msgspec.Struct, frozen=True):
    """The interfaces of a case's node and what lies behind each."""

    uplink: str
    pods: str
    behind: dict[str, list[str]]


def surroundings(case: Case) -> Surroundings:
    """Work out the node's interfaces: those the case names, and one each for pods and the outside world."""
    detect = case.get("config", {}).get("detectLocal") or {}
    prefix = detect.get("interfaceNamePrefix")
    pods = detect.get("bridgeInterface") or (f"{prefix}0" if prefix else "pods0")
    uplink = "uplink0" if pods == "eth0" or (prefix and "eth0".startswith(prefix)) else "eth0"
    behind: dict[str, list[str]] = {pods: []}
    for flow in case["flows"]:
        interface = flow.get("in_iface") or (pods if flow["from"] == "pod-local" else uplink)
        if interface != uplink and not made_here(case, flow):
            behind.setdefault(interface, []).append(flow["src_ip"])
    for address, node in endpoint_addresses(case):
        if node == case["node"]["name"] and address not in case["node"]["addresses"]:
            behind[pods].append(address)
    return Surroundings(uplink, pods, behind)


def endpoint_addresses(case: Case) -> list[tuple[str, str | None]]:
    """Return the address of every endpoint that has one, canonical, with its node's name."""
    found = []
    for slice_ in case["endpointslices"]:
        for endpoint in slice_.get("endpoints") or []:
            for address in endpoint["addresses"]:
                with contextlib.suppress(ValueError):  # a host name
                    found.append((canonical_address(address), endpoint.get("nodeName")))
    return found


def made_here(case: Case, flow: Flow) -> bool:
    """Tell whether the node itself dials: also when a load balancer's address, bound here, dials itself."""
    return flow["from"] == "node" or flow["src_ip"] == flow["dst_ip"] or flow["src_ip"] in case["node"]["addresses"]


def host_endpoints(case: Case) -> list[tuple[str, int]]:
    """Return where host-network endpoints of this node listen."""
    ports = {port["port"] for slice_ in case["endpointslices"] for port in slice_.get("ports") or [] if port.get("port")}
    addresses = {address for address, _ in endpoint_addresses(case)} & set(case["node"]["addresses"])
    return [(address, port) for address in sorted(addresses) for port in sorted(ports)]


def dial_of(case: Case, flow: Flow, around: Surroundings) -> Dial:
    """Turn a flow into one dial."""
    if made_here(case, flow):
        where = LOCAL
    else:
        where = flow.get("in_iface") or (around.pods if flow["from"] == "pod-local" else around.uplink)
    source, destination = canonical_address(flow["src_ip"]), canonical_address(flow["dst_ip"])
    return Dial(source, where, destination, flow["dst_port"], Protocol(flow["protocol"]))


def enough(choices: int) -> int:
    """Return how many dials show each of so many equally likely endpoints, with all but certainty."""
    if choices < 2:
        return REPEATS
    return math.ceil(math.log(CONFIDENCE / choices) / math.log(1 - 1 / choices))


def neighbours(case: Case, dial: Dial, wanted: int) -> list[str]:
    """Return clients that all of the case treats like the dial's; none where a prefix or an address tells them apart."""
    if dial.where is LOCAL:
        return []
    own = parse_address(dial.source)
    block = ipaddress.ip_network(f"{own}/{own.max_prefixlen - math.ceil(math.log2(wanted + 8))}", strict=False)
    prefixes = [prefix for service in case["services"] for prefix in service["spec"].get("loadBalancerSourceRanges") or []]
    prefixes += (case.get("config", {}).get("clusterCIDR") or "").split(",") + list(case["node"].get("podCIDRs") or [])
    for network in (parse_network(prefix.strip()) for prefix in prefixes if "/" in prefix):
        if network.version == block.version and network.overlaps(block) and network.prefixlen > block.prefixlen:
            return []
    told_apart = {address for address, _ in endpoint_addresses(case)} | set(case["node"]["addresses"])
    told_apart |= {flow["src_ip"] for flow in case["flows"]} | {flow["dst_ip"] for flow in case["flows"]}
    return [str(address) for address in block.hosts() if str(address) not in told_apart][:wanted]


def bound(case: Case) -> bool:
    """Tell whether any Service of the case binds its clients to endpoints."""
    return any(service["spec"].get("sessionAffinity") == "ClientIP" for service in case["services"])


def dial_flow(case: Case, flow: Flow, around: Surroundings, dialler: Dials) -> list[Outcome]:
    """Dial a flow as often as it takes."""
    dial = dial_of(case, flow, around)
    choices = len(flow["expect"]) if isinstance(flow["expect"], list) else 1
    if not bound(case):
        return dialler.dial([dial] * enough(choices))
    times = (flow.get("affinity") or {}).get("connections", REPEATS)
    clients = neighbours(case, dial, enough(choices)) if choices > 1 else []
    return dialler.dial([dial] * times + [msgspec.structs.replace(dial, source=client) for client in clients])


def faults(case: Case, flow: Flow, outcomes: Sequence[Outcome]) -> list[str]:
    """Say what of a flow's outcomes is not as expected; nothing: all is well. Masquerading counts where the flow says so."""
    expect = flow["expect"]
    found = {outcome.odd for outcome in outcomes if outcome.odd}
    if isinstance(expect, list):
        found |= {f"met {_name(outcome)}" for outcome in outcomes if outcome.endpoint not in expect}
        found |= _never_seen(case, flow, outcomes)
        if "masquerade" in flow:
            found |= _wrong_source(case, flow, outcomes)
    elif expect == "BLOCKED":
        found |= {f"reached {outcome.endpoint}" for outcome in outcomes if outcome.met is Met.ENDPOINT}
    else:
        want = Met.NONE if expect in UNTOUCHED else Met(expect)
        found |= {f"met {_name(outcome)}" for outcome in outcomes if outcome.met is not want}
    affinity = flow.get("affinity")
    if affinity:
        mine = {outcome.endpoint for outcome in outcomes if outcome.dial.source == flow["src_ip"]}
        if len(mine) != affinity.get("distinct_backends", 1):
            found.add(f"one client met {len(mine)} endpoints in {len(outcomes)} connections: {', '.join(sorted(mine))}")
    return sorted(found)


def _name(outcome: Outcome) -> str:
    return outcome.endpoint or outcome.met.value


def _never_seen(case: Case, flow: Flow, outcomes: Sequence[Outcome]) -> set[str]:
    """Name expected endpoints that nobody met, unless too few different clients could be found to tell."""
    expect, clients = flow["expect"], len({outcome.dial.source for outcome in outcomes})
    if bound(case) and clients < enough(len(expect)) and len(expect) > 1:
        return set()
    return {
        f"never met {endpoint} in {len(outcomes)} dials"
        for endpoint in set(expect) - {outcome.endpoint for outcome in outcomes}
    }


def _is_at(endpoint: str, address: str) -> bool:
    """Tell whether an endpoint, as ``address:port``, is at an address."""
    return endpoint.startswith(join_port(address, 0)[:-1])


def _wrong_source(case: Case, flow: Flow, outcomes: Sequence[Outcome]) -> set[str]:
    """Hold the source each endpoint saw against the case: a node's address where masqueraded, else the client's own.

    Where a client may be sent to others and to itself, the case speaks of the others: to itself it is always masqueraded.
    What comes from elsewhere and ends at the node itself is never masqueraded, because the kernel rewrites sources on the
    way out only; the answer finds its way back all the same.
    A node that dials from the address it would be masqueraded to looks the same either way, but for the source port, which
    masquerading draws at random and which otherwise stays unless another connection has it already.
    """
    own = set(case["node"]["addresses"])
    found = set()
    for outcome in outcomes:
        if outcome.met is not Met.ENDPOINT or outcome.odd or not outcome.source:
            continue
        kept = outcome.source == outcome.dial.source
        itself = len(flow["expect"]) > 1 and _is_at(outcome.endpoint, outcome.dial.source)
        ends_here = outcome.dial.where is not LOCAL and any(_is_at(outcome.endpoint, address) for address in own)
        masquerade = (flow["masquerade"] or itself) and not ends_here
        if masquerade and (outcome.source not in own or (kept and outcome.dial.where is not LOCAL)):
            found.add(f"{outcome.endpoint} saw {outcome.source}: not masqueraded")
        elif not masquerade and not kept:
            found.add(f"{outcome.endpoint} saw {outcome.source}: masqueraded")
    if found or flow["masquerade"]:
        return found
    own_dials = [outcome for outcome in outcomes if outcome.dial.where is LOCAL and outcome.met is Met.ENDPOINT]
    own_dials = [outcome for outcome in own_dials if not _is_at(outcome.endpoint, outcome.dial.source)]
    if sum(not outcome.port_kept for outcome in own_dials) > len(own_dials) / 2:
        found.add("the endpoints saw other source ports: masqueraded")
    return found


def set_up(case: Case, node: Node) -> None:
    """Give the node what the case's flows need beyond its addresses: bound load balancer addresses, host-network servers."""
    for flow in case["flows"]:
        if (
            made_here(case, flow)
            and flow["src_ip"] not in case["node"]["addresses"]
            and not parse_address(flow["src_ip"]).is_loopback
        ):
            node.own(flow["src_ip"])
    for address, port in host_endpoints(case):
        node.listen(address, port)
