# SPDX-License-Identifier: Apache-2.0
"""Does the configuration fit the families of this node? Asked once the node's addresses are known.

Upstream's ``checkBadConfig`` and ``checkBadIPConfig`` (``server.go``): most misfits are logged and the start goes on,
because they only cost one feature; a few end it, because nothing could work.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from kproxy.config.addresses import address_or_none, by_family, split_port
from kproxy.config.node_ports import KEYWORDS
from kproxy.config.schema import KubeProxyConfiguration
from kproxy.table.addresses import family_of
from kproxy.table.terms import Family


class Misfit(msgspec.Struct, frozen=True):
    """A sentence for the log; ``fatal``: the start ends with it."""

    words: str
    fatal: bool = False


def _other(family: Family) -> Family:
    return Family.IPV6 if family is Family.IPV4 else Family.IPV4


def _only_of(prefixes: Iterable[str], family: Family) -> bool:
    """Tell whether there are prefixes and all are of that family."""
    sorted_out = by_family(prefixes)
    return bool(sorted_out[family]) and not sorted_out[_other(family)]


def _binds_only(address: str, family: Family) -> bool:
    try:
        host = address_or_none(split_port(address)[0])
    except ValueError:
        return False
    return host is not None and not host.is_unspecified and family_of(str(host)) is family


def check_node_port_addresses(
    config: KubeProxyConfiguration, primary: Family, pod_cidrs: Sequence[str] = ()
) -> Iterator[Misfit]:
    """Judge ``nodePortAddresses`` before keywords are expanded."""
    configured = config.node_port_addresses
    if not configured:
        yield Misfit(
            "nodePortAddresses is empty, so NodePorts answer on every local address: set nodePortAddresses to [primary] "
            "(or --nodeport-addresses=primary) to serve them on the node's own address only"
        )
        return
    if any(entry in KEYWORDS for entry in configured):
        return  # a keyword stands for both families
    covered = by_family(configured)
    lists = (config.cluster_cidrs, configured, config.ipvs.exclude_cidrs, pod_cidrs)
    dual = any(all(by_family(prefixes).values()) for prefixes in lists)
    other = _other(primary)
    if not covered[primary]:
        yield Misfit(
            f"the node is {primary}-primary but nodePortAddresses holds only {other} prefixes, so NodePorts answer on every "
            f"local {primary} address: add {primary} prefixes, or write primary"
        )
    elif dual and not covered[other]:
        yield Misfit(
            f"the cluster looks dual-stack but nodePortAddresses holds only {primary} prefixes, so NodePorts answer on "
            f"every local {other} address: add {other} prefixes, or write primary"
        )


def check_families(
    config: KubeProxyConfiguration, primary: Family, pod_cidrs: Sequence[str] = (), *, dual_stack: bool
) -> Iterator[Misfit]:
    """Judge every other setting that holds addresses. ``dual_stack``: this host can do both families."""
    wrong = _other(primary)
    node = f"the node is {primary}-primary" if dual_stack else f"the node is {primary}-only"
    if _only_of(config.cluster_cidrs, wrong):
        yield Misfit(
            f"{node} but clusterCIDR holds only {wrong} prefixes: add the {primary} range of the pods",
            fatal=config.detect_local_mode == "ClusterCIDR" and not dual_stack,
        )
    if _only_of(pod_cidrs, wrong):
        yield Misfit(
            f"{node} but its Node object has only {wrong} pod ranges (spec.podCIDRs): give the node an {primary} range",
            fatal=config.detect_local_mode == "NodeCIDR",
        )
    source = address_or_none(config.winkernel.source_vip)
    if source is not None and family_of(str(source)) is wrong:
        yield Misfit(f"{node} but winkernel.sourceVip is {wrong}: it has no effect on Linux, take it out")
    if dual_stack:
        return  # the other family is served as well, so nothing below is out of reach
    if _only_of(config.ipvs.exclude_cidrs, wrong):
        yield Misfit(f"{node} but ipvs.excludeCIDRs holds only {wrong} prefixes, which exclude nothing: take them out")
    for path, address in (
        ("healthzBindAddress", config.healthz_bind_address),
        ("metricsBindAddress", config.metrics_bind_address),
    ):
        if _binds_only(address, wrong):
            yield Misfit(f"{node} but {path} is the {wrong} address {address}: write an {primary} one")
