# SPDX-License-Identifier: Apache-2.0
"""``nodePortAddresses``: keywords, and which of this node's addresses they select.

Per family, as upstream's ``pkg/proxy/util/nodeport_addresses.go``: a list without an entry of a family leaves that
family open on every address, and so does a prefix of length 0. One difference: ``primary`` is an entry of *both*
families, also while the node has no address there, so that a node whose address is not known yet opens nothing instead
of everything.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from kproxy.config.addresses import by_family
from kproxy.table.addresses import contains, family_of, parse_address, parse_network
from kproxy.table.terms import Family

PRIMARY: Final = "primary"
LOCALHOST: Final = "localhost"
ALL: Final = "all"
KEYWORDS: Final[dict[str, tuple[str, ...]]] = {
    PRIMARY: (),  # depends on the node
    LOCALHOST: ("127.0.0.0/8", "::1/128"),
    ALL: ("0.0.0.0/0", "::/0"),
}
LOOPBACKS: Final = {Family.IPV4: parse_network("127.0.0.0/8"), Family.IPV6: parse_network("::1/128")}


class NodePortRanges(msgspec.Struct, frozen=True):
    """Where NodePorts are served in one family: on the local addresses within ``prefixes``.

    ``every``: that is all of them, whatever addresses come and go. No prefixes: nowhere.
    """

    every: bool
    prefixes: tuple[str, ...]

    def select(self, interfaces: Iterable[str]) -> tuple[str, ...]:
        """Return those of the interface addresses (canonical, either family's) that are selected, sorted."""
        return tuple(sorted(address for address in interfaces if contains(self.prefixes, address)))

    @property
    def covers_ipv4_loopback(self) -> bool:
        """Tell whether any IPv4 loopback address is covered, in whole or in part. Never so in IPv6."""
        loopback = LOOPBACKS[Family.IPV4]
        return any(prefix.version == 4 and prefix.overlaps(loopback) for prefix in map(parse_network, self.prefixes))

    def names_loopback(self, family: Family) -> bool:
        """Tell whether a prefix of loopback addresses is among them: not one that happens to hold them, as 0.0.0.0/0."""
        loopback = LOOPBACKS[family]
        own = (prefix for prefix in map(parse_network, self.prefixes) if prefix.version == loopback.version)
        return any(prefix.network_address in loopback and prefix.prefixlen >= loopback.prefixlen for prefix in own)


def node_port_ranges(configured: Iterable[str], node_ips: Mapping[Family, str]) -> dict[Family, NodePortRanges]:
    """Work out the ranges of both families.

    ``configured`` is the list of the file; ``node_ips`` the node's address by family as far as it is known (a loopback
    placeholder does not count as known).
    """
    configured = tuple(configured)
    prefixes = [prefix for entry in configured for prefix in KEYWORDS.get(entry, (entry,))]
    if PRIMARY in configured:
        known = [address for address in node_ips.values() if not parse_address(address).is_loopback]
        prefixes += [f"{address}/{32 if family_of(address) is Family.IPV4 else 128}" for address in known]
    ranges = {}
    for family, own in by_family(prefixes).items():
        zero = any(parse_network(prefix).prefixlen == 0 for prefix in own)
        every = zero or (not own and PRIMARY not in configured)
        everything = "0.0.0.0/0" if family is Family.IPV4 else "::/0"
        ranges[family] = NodePortRanges(every=every, prefixes=own or (everything,) if every else own)
    return ranges
