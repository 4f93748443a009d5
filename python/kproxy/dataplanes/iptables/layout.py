# SPDX-License-Identifier: Apache-2.0
"""Every name the kernel gets to see, and what an operator may choose.

All chains are named ``KPX-…``, the entry chains too: kube-proxy empties and deletes whatever bears its own names, so rules
that shared them could never stand beside its rules, and taking a node over would be a gap.

Table ``nat`` translates. Only the first packet of a connection enters it, so nothing in it costs an established connection::

    PREROUTING, OUTPUT -> KPX-SERVICES -> tree by address -> leaf: DNAT, or a Service's own chain
                                       -> KPX-NODEPORTS   -> trees by port -> leaf
    POSTROUTING -> KPX-POSTROUTING -> KPX-MASQUERADE, KPX-HAIRPIN -> tree by endpoint

Table ``filter`` refuses what ``nat`` left untranslated: ``KPX-REFUSE`` has trees of the same make.
"""

import base64
import enum
import hashlib
from typing import Final, TypeAlias

import msgspec

from kproxy.table.terms import Family, Protocol

NAT: Final = "nat"
FILTER: Final = "filter"
TABLES: Final = (FILTER, NAT)

PREFIX: Final = "KPX-"
COMMENT: Final = "kproxy"  # of every jump from a built-in chain
LONGEST_NAME: Final = 28  # of a chain, for the kernel
LONGEST_SET: Final = 31  # of an ipset

DEFAULT_MASQUERADE_BIT: Final = 14  # 0x4000, as kube-proxy

Chain: TypeAlias = tuple[str, str]  # table and name

SERVICES: Final[Chain] = (NAT, "KPX-SERVICES")
NODEPORTS: Final[Chain] = (NAT, "KPX-NODEPORTS")
POSTROUTING: Final[Chain] = (NAT, "KPX-POSTROUTING")
MASQUERADE: Final[Chain] = (NAT, "KPX-MASQUERADE")
HAIRPIN: Final[Chain] = (NAT, "KPX-HAIRPIN")
INPUT: Final[Chain] = (FILTER, "KPX-INPUT")
FORWARD: Final[Chain] = (FILTER, "KPX-FORWARD")
OUTPUT: Final[Chain] = (FILTER, "KPX-OUTPUT")
REFUSE: Final[Chain] = (FILTER, "KPX-REFUSE")
REFUSE_NODEPORTS: Final[Chain] = (FILTER, "KPX-REFUSE-NODEPORTS")

JUMPS: Final = (  # built-in chain -> ours
    ((NAT, "PREROUTING"), SERVICES),
    ((NAT, "OUTPUT"), SERVICES),
    ((NAT, "POSTROUTING"), POSTROUTING),
    ((FILTER, "INPUT"), INPUT),
    ((FILTER, "FORWARD"), FORWARD),
    ((FILTER, "OUTPUT"), OUTPUT),
)


class Reason(enum.StrEnum):
    """Why a packet was refused."""

    NO_ENDPOINTS = "no-endpoints"
    NO_LOCAL_ENDPOINTS = "no-local-endpoints"
    SOURCE_RANGE = "source-range"


class Options(msgspec.Struct, frozen=True):
    """What an operator may choose of the layout, and what the machine has.

    ``random_fully``: masquerading draws source ports at random; ``drop_invalid``: packets the kernel cannot track are not
    forwarded; ``sets``: ipset is there, so affinity remembers as many clients as it must.
    """

    masquerade_bit: int = DEFAULT_MASQUERADE_BIT
    random_fully: bool = True
    drop_invalid: bool = True
    sets: bool = True

    @property
    def mark(self) -> str:
        """The one bit of the packet mark that is ours, as text."""
        return f"{1 << self.masquerade_bit:#x}"

    @property
    def set_mark(self) -> str:
        """The target that sets our bit."""
        return f" -j MARK --set-xmark {self.mark}/{self.mark}"

    @property
    def clear_mark(self) -> str:
        """The target that clears our bit."""
        return f" -j MARK --set-xmark 0x0/{self.mark}"

    @property
    def masquerade(self) -> str:
        """The target that masquerades."""
        return f" -j MASQUERADE{' --random-fully' if self.random_fully else ''}"


class Words(msgspec.Struct, frozen=True):
    """A family's words in the text that ``iptables-save`` prints."""

    family: Family
    bits: int
    loopback: str
    mask: str  # of the list of one client
    reject: str
    set_family: str  # ipset's word

    def host(self, address: str) -> str:
        """Return an address as a match has it."""
        return f"{address}/{self.bits}"


WORDS: Final = {
    Family.IPV4: Words(Family.IPV4, 32, "127.0.0.0/8", "255.255.255.255", "icmp-port-unreachable", "inet"),
    Family.IPV6: Words(Family.IPV6, 128, "::1/128", "ffff:" * 7 + "ffff", "icmp6-port-unreachable", "inet6"),
}


def hashed(*parts: str, length: int = 16) -> str:
    """Return a short name for texts: the same one at every start."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return base64.b32encode(digest).decode()[:length]


def word(protocol: Protocol) -> str:
    """Return a protocol as iptables prints it."""
    return protocol.lower()


def set_name(family: Family, *parts: str) -> str:
    """Return the name of the ipset that holds the clients of one endpoint of one route."""
    return f"{PREFIX}{'4' if family is Family.IPV4 else '6'}-{hashed(*parts)}"
