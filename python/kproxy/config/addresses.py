# SPDX-License-Identifier: Apache-2.0
"""Addresses as configuration writes them: ``IP:port`` pairs and lists of prefixes of both families."""

import re
from collections.abc import Iterable
from typing import Final

from kproxy.table.addresses import Address, Network, join_port, parse_address, parse_network
from kproxy.table.terms import Family

_PAIR: Final = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^\[\]:]*)):(?P<port>[^\[\]:]*)")


def split_port(text: str) -> tuple[str, str]:
    """Split ``10.0.0.1:80`` or ``[fd00::1]:80`` into host and port text. Raises ValueError when it is no such pair."""
    match = _PAIR.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an IP:PORT: write 10.0.0.1:80 or [fd00::1]:80")
    return match["bracketed"] or match["plain"] or "", match["port"]


def append_port(text: str, port: int) -> str:
    """Add the port where only an address stands; anything else, wrong or right, comes back untouched."""
    try:
        parse_address(text)
    except ValueError:
        return text
    return join_port(text, port)


def address_or_none(text: str) -> Address | None:
    """Read an address, or nothing where there is none."""
    try:
        return parse_address(text)
    except ValueError:
        return None


def network_or_none(text: str) -> Network | None:
    """Read a prefix, or nothing where there is none."""
    try:
        return parse_network(text)
    except ValueError:
        return None


def is_everything(prefix: str) -> bool:
    """Tell whether the prefix holds every address of its family: ``0.0.0.0/0``, ``::/0``."""
    network = network_or_none(prefix)
    return network is not None and network.prefixlen == 0


def family_of_network(network: Network) -> Family:
    """Tell the family of a prefix."""
    return Family.IPV4 if network.version == 4 else Family.IPV6


def by_family(prefixes: Iterable[str]) -> dict[Family, tuple[str, ...]]:
    """Sort prefixes by family, canonical and in their order. What is none is left out: validation names it."""
    networks = [network for network in (network_or_none(prefix.strip()) for prefix in prefixes) if network is not None]
    return {family: tuple(str(network) for network in networks if family_of_network(network) is family) for family in Family}
