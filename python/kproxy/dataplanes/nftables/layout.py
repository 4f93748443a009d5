# SPDX-License-Identifier: Apache-2.0
"""Every name the kernel gets to see, and the text that never changes.

Layout F: rules are static, Services are data. A packet is led by look-ups only::

    frontend -> shape -> policy chain -> balancer chain
    frontend -> set id, set id . slot -> endpoint id, endpoint id -> address . port

``meta priority`` carries the result of one look-up to the next (only the first packet of a connection enters nat chains; it
is reset in postrouting). A look-up and the verdict map that uses it stand in one rule, so that a missed look-up stops the
rule and a priority set by somebody else is never taken for ours.

All chains are of type ``nat``: established connections never enter them, so guarding, rejecting and balancing cost them
nothing. ``docs/nftables.md`` walks a packet through it.
"""

import enum
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.dataplanes.nft_tables import Refusal
from kproxy.table.terms import Family

VERSION: Final = 1  # of the layout: another number in the kernel means another program's (or another age's) table
TABLE: Final = "kproxy"
SPARE_TABLE: Final = "kproxy-spare"  # taken while TABLE holds another layout, which goes once ours is committed
TABLES: Final = (TABLE, SPARE_TABLE)

DEFAULT_MASQUERADE_BIT: Final = 14  # 0x4000, as kube-proxy
DEFAULT_AFFINITY_SIZE: Final = 65_536
GUARD_PRIORITY: Final = -110  # source ranges are checked before anybody translates
DESTINATION_PRIORITY: Final = -100
SOURCE_PRIORITY: Final = 100


class Scope(enum.StrEnum):
    """Which of a route's endpoint sets a chain picks from. A local set's id is the other one's plus one."""

    ALL = "all"
    LOCAL = "local"


class Kind(enum.StrEnum):
    """How a frontend is looked up: by address, protocol and port, or (NodePorts) by protocol and port alone.

    Attributes are names of maps. ``shapes``: frontend -> shape, that is policy code and balancer code. ``sets``: frontend ->
    set id, counting new connections; stays as long as the frontend belongs to its Service. ``locals``: frontend -> balancer
    code of the local set. ``policies``: policy code -> chain that tells the clients apart.
    """

    SERVICE = "service"
    NODEPORT = "nodeport"

    def __init__(self, word: str) -> None:
        self.shapes = f"{word}-shapes"
        self.sets = f"{word}-sets"
        self.locals = f"{word}-locals"
        self.policies = f"{word}-policies"
        self._balancers = {scope: f"{word}-balancers-{scope}" for scope in Scope}

    def balancers(self, scope: Scope) -> str:
        """Map: balancer code -> chain that picks a slot."""
        return self._balancers[scope]

    def affinity(self, scope: Scope) -> str:
        """Map: client and frontend -> endpoint id, each entry with its time-out."""
        return f"{self}-affinity-{scope}"


class Reason(Refusal):
    """Why a packet was refused; each has its counter in ``refusals``."""

    NO_ENDPOINTS = "no-endpoints"
    NO_LOCAL_ENDPOINTS = "no-local-endpoints"
    SOURCE_RANGE = "source-range"
    WRONG_PORT = "wrong-port"
    UNALLOCATED = "unallocated"
    MISSED = "missed"  # a look-up found nothing where there must be something: never, unless somebody else edits the table


SLOTS: Final = "slots"  # set id . slot -> endpoint id
ENDPOINTS: Final = "endpoints"  # endpoint id -> address . port, counting new connections
GUARDED: Final = "guarded"  # frontends that only some sources may dial
ALLOWED: Final = "allowed"  # frontend . source that may
CLUSTER_IPS: Final = "cluster-ips"  # ClusterIPs in use: another port there is a wrong one
NODEPORT_ADDRESSES: Final = "nodeport-addresses"
HAIRPIN: Final = "hairpin"  # address . the same address, of endpoints that may dial themselves through this node
TRAFFIC: Final = "traffic"  # endpoints, counting packets and bytes of translated connections, if asked to
REFUSALS: Final = "refusals"
ABOUT: Final = "about"  # what this table is: layout version, fingerprint of the rules as nft prints them

ABOUT_VERSION: Final = 1
ABOUT_FINGERPRINT: Final = 2

LOCAL_SET: Final = 1  # the bit that makes a set id a local set's
FIRST_ENDPOINT: Final = 1 << 31  # endpoint ids lie above, set ids below: neither is ever taken for the other


class Options(msgspec.Struct, frozen=True):
    """What an operator may choose of the layout."""

    masquerade_bit: int = DEFAULT_MASQUERADE_BIT
    affinity_size: int = DEFAULT_AFFINITY_SIZE
    count_bytes: bool = False  # packets and bytes per endpoint; costs every packet a look-up

    @property
    def mark(self) -> int:
        """The one bit of the packet mark that is ours."""
        return 1 << self.masquerade_bit


_PORT: Final = "meta l4proto . th dport"


class Words(msgspec.Struct, frozen=True):
    """The family's words in nft text."""

    family: Family
    ip: str  # "ip" or "ip6": table family and payload protocol
    loopback: str

    def frontend(self, kind: Kind) -> str:
        """Return the expression that is a frontend's key."""
        return f"{self.ip} daddr . {_PORT}" if kind is Kind.SERVICE else _PORT

    def client(self, kind: Kind) -> str:
        """Return the expression by which an affinity map knows a client at a frontend.

        nft 1.0.6 aborts on an ``update`` whose key has more than sixteen bytes, so IPv6 addresses go in as two hashes.
        """
        addresses = f"{self.ip} saddr . {self.ip} daddr" if kind is Kind.SERVICE else f"{self.ip} saddr"
        if self.family is Family.IPV4:
            return f"{addresses} . {_PORT}"
        return " . ".join((*(f"jhash {addresses} mod 4294967295 seed {seed:#x}" for seed in (1, 2)), _PORT))


WORDS: Final = {
    Family.IPV4: Words(Family.IPV4, "ip", "127.0.0.0/8"),
    Family.IPV6: Words(Family.IPV6, "ip6", "::1"),
}


def static_chains(words: Words) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the chains no Service and no node fact ever touches: name and rules, callees first."""
    ip = words.ip
    yield "finish", (f"meta l4proto {{ tcp, udp, sctp }} dnat {ip} to meta priority map @{ENDPOINTS}",)
    yield "pass", ("meta priority set 0:0",)
    for reason in Reason:
        for action in reason.actions:
            yield f"{action}-{reason}", (f"meta priority set 0:{reason.code:x} meta priority @{REFUSALS}", action)
    for kind in Kind:
        for scope in Scope:
            yield f"{kind}-{scope}", (_balance(words, kind, scope), f"goto drop-{Reason.MISSED}")
    nodeport = f"meta priority set {words.frontend(Kind.NODEPORT)} map @{Kind.NODEPORT.shapes}"
    yield "nodeports", (f"{nodeport} meta priority & ffff:0 vmap @{Kind.NODEPORT.policies}",)
    service = words.frontend(Kind.SERVICE)
    yield "guard", (f"{service} @{GUARDED} {service} . {ip} saddr != @{ALLOWED} goto drop-{Reason.SOURCE_RANGE}",)


def _balance(words: Words, kind: Kind, scope: Scope) -> str:
    if scope is Scope.ALL:  # the scratch still holds the shape, whose low half is the balancer code
        return f"meta priority & 0:ffff vmap @{kind.balancers(scope)}"
    return f"meta priority set {words.frontend(kind)} map @{kind.locals} meta priority vmap @{kind.balancers(scope)}"


ENTRANCES: Final = ("prerouting-guard", "prerouting", "output-guard", "output")  # where a new connection comes in


def base_chains(words: Words, options: Options) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the chains the kernel calls, and those only they use: name, hook clause and rules."""
    ip = words.ip
    ours = f"meta mark & {options.mark:#010x} != 0x00000000 meta mark set meta mark & {options.mark ^ 0xFFFFFFFF:#010x}"
    yield (
        "postrouting",
        f"type nat hook postrouting priority {SOURCE_PRIORITY}",
        (
            "ct status dnat meta priority set 0:0",
            f"{ours} masquerade fully-random",
            f"ct status dnat {ip} saddr . {ip} daddr @{HAIRPIN} masquerade fully-random",
        ),
    )
    for hook in ("prerouting", "output"):
        yield f"{hook}-guard", f"type nat hook {hook} priority {GUARD_PRIORITY}", ("jump guard",)
        yield hook, f"type nat hook {hook} priority {DESTINATION_PRIORITY}", ("jump dispatch",)
    if options.count_bytes:
        ports = {"original": ("daddr", "dport"), "reply": ("saddr", "sport")}
        yield (
            "count",
            "",
            tuple(
                f"ct direction {direction} {ip} {address} . meta l4proto . th {port} @{TRAFFIC}"
                for direction, (address, port) in ports.items()
            ),
        )
        for hook in ("input", "forward", "output"):
            yield f"{hook}-count", f"type filter hook {hook} priority 0", ("ct status dnat jump count",)


COUNTING_CHAINS: Final = ("input-count", "forward-count", "output-count", "count")  # callers first
