# SPDX-License-Identifier: Apache-2.0
"""Shapes: what frontends have in common, so that chains exist per shape and never per Service.

A shape is a number: the high half says what each class of client meets (``policy_code``), the low half which chain picks a
slot (a ``Balancer``'s code). Plain balancers are their own code, their count of slots; those with an affinity time-out or a
Maglev table get a code above ``FIRST_SPECIAL`` when they are first met.
"""

import functools
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.dataplanes.nft_tables import Facts, pod_match, refusal
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.layout import Kind, Options, Reason, Scope, Words
from kproxy.table.node import NodeFacts, PodTest
from kproxy.table.route import Policy, Route, Verdict
from kproxy.table.terms import Action, Client, EndpointSet, Family

FIRST_SPECIAL: Final = 0x8000
HASH_SEED: Final = 0x6B70726F  # the same on every node, so that all nodes lead a client to the same endpoint

Rules = tuple[str, ...]


def facts_of(node: NodeFacts, family: Family) -> Facts:
    """Pick what counts for one family. Loopback addresses are served by another dataplane, where they are."""
    facts = Facts.of(node, family)
    nodeports = msgspec.structs.replace(facts.family.nodeports, loopback=False)
    return msgspec.structs.replace(facts, family=msgspec.structs.replace(facts.family, nodeports=nodeports))


class Balancer(msgspec.Struct, frozen=True):
    """How one of ``slots`` slots is picked: at random or by a hash of the client, with affinity or without."""

    slots: int
    affinity: int = 0  # seconds
    hashed: bool = False

    def __str__(self) -> str:
        """Return the last part of its chains' names: ``3``, ``3-affinity-20``, ``hashed-1021``."""
        name = f"hashed-{self.slots}" if self.hashed else str(self.slots)
        return f"{name}-affinity-{self.affinity}" if self.affinity else name

    @classmethod
    def parse(cls, name: str) -> "Balancer":
        """Read what ``str()`` wrote. Raises ValueError."""
        head, _, seconds = name.partition("-affinity-")
        return cls(int(head.removeprefix("hashed-")), int(seconds or 0), head.startswith("hashed-"))

    def around(self, reach: int) -> Iterator["Balancer"]:
        """Yield this one and those of so many slots more or less, which a growing or shrinking set needs next."""
        if self.hashed:
            yield self
            return
        for slots in range(max(1, self.slots - reach), self.slots + reach + 1):
            yield Balancer(slots, self.affinity)

    @property
    def plain_code(self) -> int | None:
        """The code of a plain balancer: its count of slots."""
        return self.slots if not self.affinity and not self.hashed and self.slots < FIRST_SPECIAL else None


class Meeting(msgspec.Struct, frozen=True):
    """What each class of client meets at a frontend, one octal digit each: pod, node, outside. Loopback is not ours.

    0 pass, 1 drop, 2 reject, 3 all, 4 all masqueraded, 5 local, 6 local masqueraded.
    """

    digits: tuple[int, int, int]

    @property
    def code(self) -> int:
        """The high half of a shape."""
        pod, node, outside = self.digits
        return pod << 9 | node << 6 | outside << 3

    @classmethod
    def of_code(cls, code: int) -> "Meeting":
        """Read the high half of a shape."""
        return cls((code >> 9 & 7, code >> 6 & 7, code >> 3 & 7))

    @property
    def scopes(self) -> frozenset[Scope]:
        """Which endpoint sets it balances over."""
        return _SCOPES[self.digits]

    def __str__(self) -> str:
        """Return the last part of its chain's name: ``all-allmasq-local``."""
        return "-".join(_WORDS[digit] for digit in self.digits)


_WORDS: Final = ("pass", "drop", "reject", "all", "allmasq", "local", "localmasq")
_CLIENTS: Final = (Client.POD, Client.NODE, Client.OUTSIDE)


class _Scopes(dict[tuple[int, int, int], frozenset[Scope]]):
    def __missing__(self, digits: tuple[int, int, int]) -> frozenset[Scope]:
        found = frozenset(Scope.ALL if digit < 5 else Scope.LOCAL for digit in digits if digit > 2)
        self[digits] = found
        return found


_SCOPES: Final = _Scopes()


def digit(verdict: Verdict, usable: frozenset[Scope]) -> int:
    """Return a verdict's digit. A balance over a set without a usable slot refuses as if the set were empty."""
    if verdict.action is not Action.BALANCE:
        return (Action.PASS, Action.DROP, Action.REJECT).index(verdict.action)
    if verdict.endpoints is EndpointSet.ALL:
        return 3 + verdict.masquerade if Scope.ALL in usable else 2
    return 5 + verdict.masquerade if Scope.LOCAL in usable else 1


@functools.lru_cache(maxsize=1024)  # clusters have a handful of policies
def meeting(policy: Policy, usable: frozenset[Scope]) -> Meeting:
    """Return what the clients of a role's frontends meet. *Loopback* ones are passed: another dataplane serves them."""
    pod, node, outside = (digit(policy.of(client), usable) for client in _CLIENTS)
    return Meeting((pod, node, outside))


def scopes_wanted(route: Route) -> frozenset[Scope]:
    """Return which of the route's endpoint sets some frontend of it may balance over."""
    wanted: frozenset[Scope] = frozenset()
    for role in {frontend.role for frontend in route.frontends}:
        wanted |= _balanced(route.policy(role))
    return wanted


@functools.lru_cache(maxsize=1024)
def _balanced(policy: Policy) -> frozenset[Scope]:
    verdicts = map(policy.of, _CLIENTS)
    return frozenset(
        Scope.ALL if verdict.endpoints is EndpointSet.ALL else Scope.LOCAL
        for verdict in verdicts
        if verdict.action is Action.BALANCE
    )


def policy_chain(meeting: Meeting, kind: Kind, words: Words, options: Options, pods: PodTest | None) -> Rules:
    """Return the rules that tell the clients apart; the first that fits counts."""
    pod, node, outside = (_consequence(digit, kind, options) for digit in meeting.digits)
    rules = []
    if pods and not pod == node == outside:
        rules.append(f"{pod_match(pods, words.ip)} {pod}")
    if node != outside:
        rules.append(f"fib saddr type local {node}")
    return (*rules, outside)


def _consequence(digit: int, kind: Kind, options: Options) -> str:
    if digit < 3:
        return ("goto pass", f"goto drop-{Reason.NO_LOCAL_ENDPOINTS}", f"goto reject-{Reason.NO_ENDPOINTS}")[digit]
    scope = Scope.ALL if digit < 5 else Scope.LOCAL
    mark = f"meta mark set meta mark | {options.mark:#010x} " if digit in {4, 6} else ""
    return f"{mark}goto {kind}-{scope}"


def balancer_chain(balancer: Balancer, kind: Kind, scope: Scope, words: Words) -> Rules:
    """Return the rules that pick a slot, remember the client if asked to, and finish.

    With affinity: first the endpoint the client had; then, for a client without one, a fresh pick (whatever can be stored
    of it); then the same for a client whose endpoint has left (a look-up that found an id which leads nowhere any more).
    ``update`` never changes a value, hence the ``delete``; and it breaks off a rule when the map is full, hence the bare
    ``jump finish`` behind.
    """
    frontend = words.frontend(kind)
    sets = f"meta priority set {frontend} map @{kind.sets}"
    choice = (
        f"jhash {words.ip} saddr mod {balancer.slots} seed {HASH_SEED:#x}"
        if balancer.hashed
        else (f"numgen random mod {balancer.slots}")
    )
    set_id = "meta priority set meta priority | 0:1 " if scope is Scope.LOCAL else ""
    pick = f"{set_id}meta priority set meta priority . {choice} map @{layout.SLOTS}"
    missed = f"goto drop-{Reason.MISSED}"
    if not balancer.affinity:
        return (f"{sets} {pick} jump finish", missed)
    client = words.client(kind)
    memory = f"@{kind.affinity(scope)}"
    remember = f"update {memory} {{ {client} timeout {balancer.affinity}s : meta priority }}"
    forget = f"delete {memory} {{ {client} : meta priority }}"
    return (
        sets,
        f"meta priority set {client} map {memory} {remember} jump finish",
        f"{pick} {remember} jump finish",
        "jump finish",
        f"{sets} {pick} {forget} {remember} jump finish",
        "jump finish",
        missed,
    )


def dispatch_chain(words: Words, facts: Facts) -> Rules:
    """Return the rules that recognise a frontend, a wrong port and an address nobody has."""
    nodeports = facts.family.nodeports
    matches: list[str] = []
    if nodeports.every:
        matches.append(f"{words.ip} daddr != {words.loopback} fib daddr type local")
    elif nodeports.addresses:
        matches.append(f"{words.ip} daddr @{layout.NODEPORT_ADDRESSES}")
    shape = f"meta priority set {words.frontend(Kind.SERVICE)} map @{Kind.SERVICE.shapes}"
    return (
        f"{shape} meta priority & ffff:0 vmap @{Kind.SERVICE.policies}",
        *(f"{match} jump nodeports" for match in matches),
        *refusal(f"{words.ip} daddr @{layout.CLUSTER_IPS}", facts.wrong_port, Reason.WRONG_PORT),
        *(
            rule
            for prefix in facts.family.service_cidrs
            for rule in refusal(f"{words.ip} daddr {prefix}", facts.unallocated, Reason.UNALLOCATED)
        ),
    )
