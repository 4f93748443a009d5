# SPDX-License-Identifier: Apache-2.0
"""Area node_port_addresses: which addresses serve NodePorts."""

from typing import Any

from kproxy.config.node_ports import node_port_ranges
from kproxy.table.addresses import family_of, parse_address
from kproxy.table.terms import Family


def run(case: dict[str, Any]) -> None:
    """Per family match-all and the addresses selected, or whether IPv4 loopback is covered."""
    given, expect = case["input"], case["expect"]
    ranges = node_port_ranges(given.get("nodePortAddresses") or (), {})
    if "interfaces" not in given:
        for family in Family:
            covers = ranges[family].covers_ipv4_loopback
            assert covers == expect[family], f"{family}: {covers}"
        return
    addresses = [
        str(parse_address(entry.partition("/")[0])) for entries in given["interfaces"].values() for entry in entries or ()
    ]
    for family in Family:
        if family not in expect:
            continue
        assert ranges[family].every == expect[family]["matchAll"], f"{family}: match-all is {ranges[family].every}"
        selected = set(ranges[family].select(addresses))
        assert all(family_of(address) is family for address in selected)
        wanted = {str(parse_address(address)) for address in expect[family]["ips"]}
        assert selected == wanted, f"{family}: {selected}, expected {wanted}"
