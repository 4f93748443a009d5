# SPDX-License-Identifier: Apache-2.0
"""Every name the kernel gets to see, and the rules around IPVS.

IPVS only chooses an endpoint and translates. Who may dial, who is refused, whose source is rewritten is said by one table of
static rules, whose data are the frontends. Its ``nat`` chains see the first packet of a connection and give it what the rest
of its way needs: our masquerade bit; or, where the packet must go to another virtual server than that of its address and
port, a whole mark by which IPVS knows that server. ``docs/ipvs.md`` walks a packet through it.

No Service address is bound to the node. A packet for one of our frontends is marked (``take``) before it is routed, and one
rule and one route of policy routing deliver it to the node, where IPVS waits. So no address answers for what it does not
serve: no port of the host, no ARP, nothing for a routing daemon to announce.
"""

import enum
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.dataplanes.ipvs.marks import Marks
from kproxy.dataplanes.nft_tables import Facts, Refusal, pod_match, refusal
from kproxy.kernel.policy_routes import PolicyRoute
from kproxy.table.node import PodTest
from kproxy.table.terms import Client, Family

VERSION: Final = 1  # of the layout: a table that says another is written anew
TABLE: Final = "kproxy-ipvs"

GUARD_PRIORITY: Final = -110  # source ranges are checked before anybody translates
DESTINATION_PRIORITY: Final = -100
TAKE_PRIORITY: Final = -99  # whoever translates destinations has done so, and IPVS (-98 at output) has not looked yet
CLEAR_PRIORITY: Final = -150  # before nat: which routes anew what IPVS has sent, by its mark
SOURCE_PRIORITY: Final = 100
MISSED_PRIORITY: Final = 101  # behind IPVS at the input hook: what it did not take

RULE_PREFERENCE: Final = 101
ROUTE_TABLE: Final = 27505  # the routing table that ends on this node


class Kind(enum.StrEnum):
    """How a frontend is looked up: by address, protocol and port, or (NodePorts) by protocol and port alone."""

    SERVICE = "service"
    NODEPORT = "nodeport"

    def answers(self, client: Client) -> str:
        """Map: frontend -> what this class of client meets, where it differs from what *outside* meets."""
        return f"{self}-{client}"

    def marks(self, client: Client) -> str:
        """Map: frontend -> mark of the virtual server this class of client is sent to."""
        return f"{self}-{client}-marks"


CLIENTS: Final = (Client.POD, Client.NODE, Client.OUTSIDE)  # the first that fits counts


class Answer(enum.IntEnum):
    """What a class of client meets at a frontend."""

    PASS = 1
    DROP = 2
    REJECT = 3
    SERVER = 4  # the virtual server of the address and port dialled
    SERVER_MASQUERADED = 5
    MARK = 6  # the virtual server of a mark


class Reason(Refusal):
    """Why a packet was refused; each has its counter in ``refusals``."""

    NO_ENDPOINTS = "no-endpoints"
    NO_LOCAL_ENDPOINTS = "no-local-endpoints"
    SOURCE_RANGE = "source-range"
    WRONG_PORT = "wrong-port"
    UNALLOCATED = "unallocated"
    MISSED = "missed"  # led to a virtual server that is not there: never, unless somebody else takes it away


SERVERS: Final = "servers"  # frontends that IPVS serves: what is taken, and how a restart knows our virtual servers
GUARDED: Final = "guarded"  # frontends that only some sources may dial
ALLOWED: Final = "allowed"  # frontend . source that may
CLUSTER_IPS: Final = "cluster-ips"  # ClusterIPs in use: another port there is a wrong one
NODEPORT_ADDRESSES: Final = "nodeport-addresses"
HAIRPIN: Final = "hairpin"  # address . the same address, of endpoints that may dial themselves through this node
REFUSALS: Final = "refusals"
ABOUT: Final = "about"  # layout version, digest of the rules as text, fingerprint of the rules as the kernel shows them

ABOUT_VERSION: Final = 1
ABOUT_RULES: Final = 2
ABOUT_FINGERPRINT: Final = 3

# Where a new connection comes in, and where one that IPVS has not taken is missed.
SERVER_CHAINS: Final = ("prerouting-guard", "prerouting", "output-guard", "output", "input-missed")


class Options(msgspec.Struct, frozen=True):
    """What an operator may choose. Time-outs in seconds; 0 leaves the kernel's. ``drain``: how long removal may wait."""

    scheduler: str = "rr"
    exclude: tuple[str, ...] = ()  # prefixes in which other people's virtual servers are never touched
    strict_arp: bool = False
    tcp_timeout: int = 0
    tcp_fin_timeout: int = 0
    udp_timeout: int = 0
    masquerade_bit: int = 14
    drain: float = 900.0

    @property
    def marks(self) -> Marks:
        """Return how marks are made. The bit that takes packets is 18, or 19 where that one masquerades."""
        return Marks(self.masquerade_bit, 19 if self.masquerade_bit == 18 else 18)

    def delivery(self, family: Family) -> PolicyRoute:
        """Return the policy route by which taken packets are the node's."""
        return PolicyRoute(family, self.marks.take, ROUTE_TABLE, RULE_PREFERENCE)


_PORT: Final = "meta l4proto . th dport"


class Words(msgspec.Struct, frozen=True):
    """The family's words in nft text."""

    family: Family
    ip: str  # "ip" or "ip6": table family and payload protocol
    loopback: str

    @property
    def table(self) -> str:
        """The table as nft commands name it."""
        return f"{self.ip} {TABLE}"

    def frontend(self, kind: Kind) -> str:
        """Return the expression that is a frontend's key."""
        return f"{self.ip} daddr . {_PORT}" if kind is Kind.SERVICE else _PORT


WORDS: Final = {
    Family.IPV4: Words(Family.IPV4, "ip", "127.0.0.0/8"),
    Family.IPV6: Words(Family.IPV6, "ip6", "::1"),
}


class Chain(msgspec.Struct, frozen=True):
    """A chain: its name, the hook it is called by (or none), its rules."""

    name: str
    rules: tuple[str, ...]
    hook: str = ""


def chains(words: Words, options: Options, facts: Facts) -> Iterator[Chain]:
    """Yield every chain, callees first."""
    marks = options.marks
    yield Chain("pass", ("meta priority set 0:0", "accept"))
    for reason in Reason:
        for action in reason.actions:
            yield Chain(
                f"{action}-{reason}", (f"meta priority set 0:{reason.code:x} meta priority @{REFUSALS}", str(action))
            )
    yield Chain("pass-masqueraded", (f"meta mark set meta mark | {marks.masquerade:#010x} goto pass",))
    for kind in Kind:
        for client in CLIENTS:
            mark = f"meta mark set {words.frontend(kind)} map @{kind.marks(client)} goto pass"
            yield Chain(f"mark-{kind}-{client}", (mark, f"goto drop-{Reason.MISSED}"))
        yield Chain(str(kind), tuple(_clients(words, kind, facts.family.pods)))
    service = words.frontend(Kind.SERVICE)
    guard = f"{service} @{GUARDED} {service} . {words.ip} saddr != @{ALLOWED} goto drop-{Reason.SOURCE_RANGE}"
    yield Chain("guard", (guard,))
    yield Chain("dispatch", tuple(_dispatch(words, facts)))
    yield Chain("leave", tuple(_leave(words, marks, facts.family.pods)))
    yield from _base_chains(words, marks)


def _base_chains(words: Words, marks: Marks) -> Iterator[Chain]:
    service = f"{words.frontend(Kind.SERVICE)} @{SERVERS}"
    take, masquerade = f"{marks.take:#010x}", f"{marks.masquerade:#010x}"
    hairpin = f"{words.ip} saddr . {words.ip} daddr @{HAIRPIN} masquerade fully-random"
    yield Chain(
        "postrouting",
        (
            f"meta mark & {marks.shape:#010x} == {marks.prefix:#010x} jump leave",
            f"meta mark & {masquerade} != 0x00000000 {_without(marks.masquerade)} masquerade fully-random",
            hairpin,
        ),
        f"type nat hook postrouting priority {SOURCE_PRIORITY}",
    )
    yield Chain(
        "output-clear",
        (f"meta mark & {take} != 0x00000000 {_without(marks.take)}",),
        f"type filter hook output priority {CLEAR_PRIORITY}",
    )
    taken = (f"{service} meta mark set meta mark | {take}",)
    yield Chain("prerouting-take", taken, f"type filter hook prerouting priority {TAKE_PRIORITY}")
    yield Chain("output-take", taken, f"type route hook output priority {TAKE_PRIORITY}")
    yield Chain(
        "input-missed",  # a connection of the relay's, from before ours was the mode, is not ours to miss
        (f"ct state new {service} fib daddr type != local goto drop-{Reason.MISSED}",),
        f"type filter hook input priority {MISSED_PRIORITY}",
    )
    for hook in ("prerouting", "output"):
        yield Chain(f"{hook}-guard", ("jump guard",), f"type nat hook {hook} priority {GUARD_PRIORITY}")
        yield Chain(hook, ("jump dispatch",), f"type nat hook {hook} priority {DESTINATION_PRIORITY}")


def _without(bit: int) -> str:
    return f"meta mark set meta mark & {bit ^ 0xFFFFFFFF:#010x}"


def _clients(words: Words, kind: Kind, pods: PodTest | None) -> Iterator[str]:
    """Tell the classes of client apart; who has no answer of its own meets what the next one meets."""
    tests = {
        Client.POD: pod_match(pods, words.ip) if pods else None,
        Client.NODE: "fib saddr type local",
        Client.OUTSIDE: "",
    }
    consequences = {
        Answer.PASS: "goto pass",
        Answer.DROP: f"goto drop-{Reason.NO_LOCAL_ENDPOINTS}",
        Answer.REJECT: f"goto reject-{Reason.NO_ENDPOINTS}",
        Answer.SERVER: "goto pass",
        Answer.SERVER_MASQUERADED: "goto pass-masqueraded",
    }
    for client, test in tests.items():
        if test is not None:
            known = consequences | {Answer.MARK: f"goto mark-{kind}-{client}"}
            verdicts = ", ".join(f"0:{answer.value} : {verdict}" for answer, verdict in known.items())
            found = f"meta priority set {words.frontend(kind)} map @{kind.answers(client)}"
            yield f"{test} {found} meta priority vmap {{ {verdicts} }}".lstrip()


def _dispatch(words: Words, facts: Facts) -> Iterator[str]:
    """Recognise a frontend, a wrong port, and an address nobody has."""
    nodeports = facts.family.nodeports
    yield f"jump {Kind.SERVICE}"
    if nodeports.every:
        yield f"{words.ip} daddr != {words.loopback} fib daddr type local jump {Kind.NODEPORT}"
    elif nodeports.addresses:
        yield f"{words.ip} daddr @{NODEPORT_ADDRESSES} jump {Kind.NODEPORT}"
    yield from refusal(f"{words.ip} daddr @{CLUSTER_IPS}", facts.wrong_port, Reason.WRONG_PORT)
    for prefix in facts.family.service_cidrs:
        yield from refusal(f"{words.ip} daddr {prefix}", facts.unallocated, Reason.UNALLOCATED)


def _leave(words: Words, marks: Marks, pods: PodTest | None) -> Iterator[str]:
    """Do what a mark of ours says of the source, and take the mark off: the packet leaves us."""
    rest = "meta mark set 0x00000000 masquerade fully-random"
    yield f"meta mark & {marks.masquerade:#010x} != 0x00000000 {rest}"
    others = f"{words.ip} saddr != {pods.cidr} " if pods and pods.cidr else ""
    yield f"meta mark & {marks.node:#010x} != 0x00000000 {others}fib saddr type local {rest}"
    yield "meta mark set 0x00000000"
