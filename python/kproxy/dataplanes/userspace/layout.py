# SPDX-License-Identifier: Apache-2.0
"""Every name the kernel gets to see, and the chains that never change.

Rules judge, the relay balances: a packet of a frontend is refused here, or it is *taken*, that is handed to one of the two
ports the relay listens on (TPROXY: no address is rewritten). Which of the two says which endpoints may answer::

    frontend -> policy code -> policy chain -> take-all, take-local, reject, drop

``meta priority`` carries the result of one look-up to the next: it means nothing to a packet that ends on this node. A
look-up and the verdict map that uses it stand in one rule, so that a missed look-up stops the rule and a priority set by
somebody else is never taken for ours.

Two bits are ours, of the packet mark and of the connection's. *take* brings a packet to this node whatever its address is
(policy routing), and marks the connection of a client; *own* marks what the relay sends to endpoints, which is never taken.
Packets of connections that are nobody's business of ours meet three comparisons.
"""

import enum
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.dataplanes.nft_tables import Refusal
from kproxy.table.terms import Client, Family

VERSION: Final = 1  # of the layout: another number in the kernel means another age's table, which is written anew
TABLE: Final = "kproxy-relay"
LOOPBACK_TABLE: Final = "kproxy-loopback"  # of a relay that serves loopback clients only, beside another mode

PRIORITY: Final = -150  # before anybody translates addresses
NAT_PRIORITIES: Final = {"prerouting": -100, "input": 100, "output": -100, "postrouting": 100}
ROUTE_TABLE: Final = 27504  # "kp": the routing table that ends on this node
RULE_PREFERENCE: Final = 100

FRONTENDS: Final = "frontends"  # address . protocol . port -> policy code
NODEPORTS: Final = "nodeports"  # protocol . port -> policy code
POLICIES: Final = "policies"  # policy code -> chain that tells the clients apart
GUARDED: Final = "guarded"  # frontends that only some sources may dial
ALLOWED: Final = "allowed"  # frontend . source that may
CLUSTER_IPS: Final = "cluster-ips"  # ClusterIPs in use: another port there is a wrong one
NODEPORT_ADDRESSES: Final = "nodeport-addresses"
REFUSALS: Final = "refusals"
ABOUT: Final = "about"

ABOUT_VERSION: Final = 1
ABOUT_STRUCTURE: Final = 2  # digest of the chains as they were written
ABOUT_FINGERPRINT: Final = 3  # digest of the rules as the kernel showed them then

EVERYBODY: Final = frozenset(Client)


class Reason(Refusal):
    """Why a packet was refused; each has its counter in ``refusals``."""

    NO_ENDPOINTS = "no-endpoints"
    NO_LOCAL_ENDPOINTS = "no-local-endpoints"
    SOURCE_RANGE = "source-range"
    WRONG_PORT = "wrong-port"
    UNALLOCATED = "unallocated"
    NO_RELAY = "no-relay"  # nobody listens: the relay has died
    RELAY_PORT = "relay-port"  # somebody dialled the relay itself


class Scope(enum.IntEnum):
    """Which of a route's endpoint sets a taken packet is for, as the scratch says it."""

    ALL = 1
    LOCAL = 2


class Options(msgspec.Struct, frozen=True):
    """What an operator may choose, and whom this dataplane serves.

    ``ports`` are the relay's, for all endpoints and for local ones. ``keep_source``: endpoints on this node see the client's
    own address. ``wishes`` are time-outs and limits of the relay, by its own names. ``carried``: the kernel shows a
    bridge's frames to our rules while they are on the bridge (``br_netfilter``), which nobody chooses here.
    """

    take: int = 0x10000
    own: int = 0x20000
    ports: tuple[int, int] = (10246, 10247)
    clients: frozenset[Client] = EVERYBODY
    workers: int = 0
    keep_source: bool = False
    retirement: float = 600.0  # seconds that connections have after a switch to another mode
    wishes: dict[str, float] = {}
    carried: bool = False

    @property
    def table(self) -> str:
        """Name the table."""
        return TABLE if self.serves_all else LOOPBACK_TABLE

    @property
    def serves_all(self) -> bool:
        """Tell whether every class of client is served."""
        return self.clients == EVERYBODY


LOOPBACK_ONLY: Final = Options(ports=(10244, 10245), clients=frozenset({Client.LOOPBACK}), workers=1)


class Words(msgspec.Struct, frozen=True):
    """The family's words in nft text."""

    ip: str  # "ip" or "ip6": table family and payload protocol
    loopback: str

    @property
    def frontend(self) -> str:
        """Return the expression that is a frontend's key."""
        return f"{self.ip} daddr . {PORT_KEY}"


PORT_KEY: Final = "meta l4proto . th dport"
WORDS: Final = {Family.IPV4: Words("ip", "127.0.0.0/8"), Family.IPV6: Words("ip6", "::1")}
ENTRANCE: Final = "dispatch"  # without it no new connection is taken


class Marks:
    """The marks' expressions."""

    def __init__(self, options: Options) -> None:
        take, own = options.take, options.own
        self.is_own = _has("meta", own)
        self.is_taken = _has("meta", take)
        self.is_not_taken = _lacks("meta", take)
        self.take = f"meta mark set meta mark | {take:#010x}"
        self.leave = f"meta mark set meta mark & {take ^ 0xFFFFFFFF:#010x}"
        self.is_clients = _has("ct", take)
        self.is_endpoints = _has("ct", own)
        self.is_ours = _has("ct", take | own)
        self.is_not_ours = _lacks("ct", take | own)
        self.note_client = f"ct mark set ct mark | {take:#010x}"
        self.note_endpoint = f"ct mark set ct mark | {own:#010x}"


def _has(which: str, bits: int) -> str:
    return f"{which} mark & {bits:#010x} != 0x00000000"


def _lacks(which: str, bits: int) -> str:
    return f"{which} mark & {bits:#010x} == 0x00000000"


Chain = tuple[str, str, tuple[str, ...]]  # name, hook clause (empty: called by others), rules


def static_chains(words: Words, options: Options) -> Iterator[Chain]:
    """Yield the chains no Service and no node fact ever touches, callees first."""
    marks = Marks(options)
    for scope in Scope:
        rule = f"{marks.take} {marks.note_client} meta priority set 0:{scope.value}"
        yield f"take-{scope.name.lower()}", "", (rule,)
    for reason in Reason:
        count = f"meta priority set 0:{reason.code:x} meta priority @{REFUSALS}"
        for action in reason.actions:
            # A reset ends connect() at once in both families; an ICMP error may reach a busy socket and be forgotten.
            verdict = ("drop",) if action == "drop" else ("meta l4proto tcp reject with tcp reset", "reject")
            yield f"{action}-{reason}", "", (count, *verdict)
    yield "nodeports", "", (f"meta priority set {PORT_KEY} map @{NODEPORTS} meta priority vmap @{POLICIES}",)
    service = words.frontend
    guard = f"{service} @{GUARDED} {service} . {words.ip} saddr != @{ALLOWED} goto drop-{Reason.SOURCE_RANGE}"
    yield "guard", "", (guard,)


def base_chains(words: Words, options: Options) -> Iterator[Chain]:
    """Yield the chains the kernel calls."""
    marks = Marks(options)
    ports = ", ".join(map(str, options.ports))
    entering = f"type filter hook prerouting priority {PRIORITY}"
    yield (
        "input",
        f"type filter hook input priority {PRIORITY}",
        (
            f"{marks.is_taken} {marks.leave} return",
            "ct status dnat return",  # a connection that began on a bridge
            f"meta l4proto {{ tcp, udp }} th dport {{ {ports} }} goto reject-{Reason.RELAY_PORT}",
        ),
    )
    if not options.serves_all:
        yield "prerouting", entering, (*_loopback_only(words, marks), *_handing_over(marks, options))
        return
    yield "prerouting", entering, (*_known(marks), *_handing_over(marks, options))
    yield "output", f"type route hook output priority {PRIORITY}", _output(words, marks)
    for hook, priority in NAT_PRIORITIES.items():  # what another mode has translated lives on while there are nat chains
        rules = _redirecting(marks, options) if hook == "prerouting" and options.carried else ()
        yield f"nat-{hook}", f"type nat hook {hook} priority {priority}", rules


_FROM_BRIDGE: Final = 'meta iifkind "bridge"'
_ERRORS: Final = "meta l4proto { icmp, ipv6-icmp }"  # with the mark of a connection: errors that speak of it


def _known(marks: Marks) -> tuple[str, ...]:
    """Let pass, or keep, whatever enters that was judged before."""
    return (
        f"{marks.is_own} return",  # the relay's own dials, seen again on lo
        f"{marks.is_not_ours} ct state established,related return",
        "ct status dnat return",
        f"{marks.is_clients} {_ERRORS} {marks.take} accept",  # of packets that the relay has sent
        # An open connection stays with the relay whatever has become of its frontend. UDP has none: a socket that answers
        # from a frontend's address would take the client's next datagram away from the one that listens.
        f"meta l4proto tcp {marks.is_ours} socket transparent 1 socket wildcard 0 {marks.take} accept",
        f"{marks.is_endpoints} ct direction reply socket transparent 1 socket wildcard 0 {marks.take} accept",
        f"{marks.is_endpoints} return",
        f'iif "lo" {marks.is_not_taken} return',  # judged when it was sent
        marks.leave,
    )


def _loopback_only(words: Words, marks: Marks) -> tuple[str, ...]:
    return (
        'iif != "lo" return',
        f"{words.ip} daddr != {words.loopback} return",
        f"{marks.is_own} return",
        "meta l4proto tcp ct state established,related return",
        "ct status dnat return",
    )


def _handing_over(marks: Marks, options: Options) -> tuple[str, ...]:
    """Judge, and hand what is taken to the relay's port; without a relay refuse at once."""
    everything, local = options.ports
    return (
        f"jump {ENTRANCE}",
        f"{marks.is_not_taken} return",
        *((f"{_FROM_BRIDGE} meta l4proto {{ tcp, udp }} accept",) if options.carried else ()),
        f"meta priority 0:{Scope.LOCAL.value} meta l4proto {{ tcp, udp }} tproxy to :{local} accept",
        f"meta priority 0:{Scope.ALL.value} meta l4proto {{ tcp, udp }} tproxy to :{everything} accept",
        f"goto reject-{Reason.NO_RELAY}",
    )


def _redirecting(marks: Marks, options: Options) -> tuple[str, ...]:
    """Hand what was taken on a bridge to the relay by address translation, since the socket that TPROXY chooses is lost."""
    return tuple(
        f"{_FROM_BRIDGE} {marks.is_taken} meta priority 0:{scope.value} meta l4proto {{ tcp, udp }} redirect to :{port}"
        for scope, port in zip(Scope, options.ports, strict=True)
    )


def _output(words: Words, marks: Marks) -> tuple[str, ...]:
    """Judge what this node sends: a changed mark routes it to lo, where it enters.

    Where the connection tracker has forgotten a client, be it by kproxy's own clean-up, the relay may be the next to speak:
    a transparent socket that sends from a frontend is the relay's. Of clients that were taken only the node's own, who
    have a socket, go back to lo: while mode ipvs leaves, IPVS sends others' packets from here.
    """
    answering = f"{marks.is_not_ours} ct state new socket transparent 1 meta priority set"
    return (
        f"{marks.is_own} {marks.note_endpoint} return",
        f"{marks.is_endpoints} ct direction reply {marks.take} return",  # an endpoint of this node answers a kept address
        f"{marks.is_clients} {_ERRORS} {marks.take} return",
        f"{marks.is_clients} socket transparent 1 return",
        f"{marks.is_clients} ct status dnat return",  # to a client on a bridge, be it that nobody listens any more
        f"{answering} {words.ip} saddr . meta l4proto . th sport map @{FRONTENDS} {marks.note_client} return",
        f"{answering} meta l4proto . th sport map @{NODEPORTS} {marks.note_client} return",
        f"{marks.is_clients} meta l4proto tcp ct state established socket transparent 0 {marks.take} return",
        f"{marks.is_not_ours} ct state established,related return",
        "ct status dnat return",
        f"jump {ENTRANCE}",
    )
