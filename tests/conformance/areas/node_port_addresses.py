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
            assert covers == expect.get(family, covers), f"{family}: {covers}"
        return
    addresses = [
        str(parse_address(entry.partition("/")[0]))
        for entries in (given["interfaces"] or {}).values()
        for entry in entries or ()
    ]
    for family in Family:
        wanted = expect.get(family) or {}
        every = ranges[family].every
        assert every == wanted.get("matchAll", every), f"{family}: match-all is {every}"
        selected = set(ranges[family].select(addresses))
        assert all(family_of(address) is family for address in selected)
        if "ips" in wanted:
            ips = {str(parse_address(address)) for address in wanted["ips"] or ()}
            assert selected == ips, f"{family}: {selected}, expected {ips}"
