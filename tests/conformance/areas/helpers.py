# SPDX-License-Identifier: Apache-2.0
"""Area helpers: small readings of addresses."""

from typing import Any

from kproxy.config.addresses import append_port, by_family, is_everything
from kproxy.table.addresses import parse_network
from kproxy.table.terms import Family


def run(case: dict[str, Any]) -> None:
    """Compare the zero prefix, the default port, prefixes by family."""
    given, expect = case["input"], case["expect"]
    if "cidrs" in given:
        sorted_out = by_family(given["cidrs"])
        for family in Family:
            wanted = [parse_network(text) for text in expect.get(family) or ()]
            found = [parse_network(text) for text in sorted_out[family]]
            assert found == wanted, f"{family}: {found}, expected {wanted}"
    elif "cidr" in given:
        assert is_everything(given["cidr"]) == expect["zero"]
    elif "address" in given:
        result = append_port(given["address"], given["defaultPort"])
        assert result == expect["result"], f"{result!r}, expected {expect['result']!r}"
    else:
        raise AssertionError(f"no reading of {given} is known")
