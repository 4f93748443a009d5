# SPDX-License-Identifier: Apache-2.0
"""What each class of client meets: policy codes, and the chains made for them and for the node's facts.

A policy code is a number; chains exist per distinct code, never per Service.
"""

import functools
from typing import Final

import msgspec

from kproxy.dataplanes.nft_tables import Facts, pod_match, refusal
from kproxy.dataplanes.userspace import layout
from kproxy.dataplanes.userspace.layout import Options, Reason, Words
from kproxy.table.frontend import Frontend
from kproxy.table.node import FamilyFacts, NodeFacts, PodTest
from kproxy.table.route import PASS, Policy, Route, Verdict
from kproxy.table.terms import Action, Client, EndpointSet, Family, FrontendKind, Protocol

_CODES: Final = 1 << 16  # policy codes lie above: no scope and no reason is ever taken for one
_WORDS: Final = ("pass", "drop", "reject", "all", "local")
_CONSEQUENCES: Final = (
    "return",
    f"goto drop-{Reason.NO_LOCAL_ENDPOINTS}",
    f"goto reject-{Reason.NO_ENDPOINTS}",
    "goto take-all",
    "goto take-local",
)


def facts_of(node: NodeFacts, family: Family, options: Options) -> Facts:
    """Pick what counts for one family and for the clients that are served."""
    facts = Facts.of(node, family)
    if not options.serves_all:
        nodeports = msgspec.structs.replace(facts.family.nodeports, every=False, addresses=())
        return Facts(FamilyFacts(nodeports=nodeports), Action.PASS, Action.PASS)
    return msgspec.structs.replace(facts, family=msgspec.structs.replace(facts.family, addresses=()))


Usable = frozenset[EndpointSet]


def usable_sets(route: Route) -> Usable | None:
    """Return the endpoint sets in which somebody takes connections; None where the relay has no such protocol."""
    if route.key.protocol is Protocol.SCTP:
        return None
    return frozenset(which for which in EndpointSet if any(one.weight for one in route.endpoints(which)))


def code(route: Route, frontend: Frontend, usable: Usable | None, options: Options) -> int:
    """Return the code of what clients meet at a frontend."""
    asked = _AT_NODEPORTS if frontend.kind is FrontendKind.NODE_PORT else _ELSEWHERE
    return _code(route.policy(frontend.role), asked, usable, options.clients)


_AT_NODEPORTS: Final = (Client.POD, Client.NODE, Client.OUTSIDE, Client.LOOPBACK)
_ELSEWHERE: Final = (Client.POD, Client.NODE, Client.OUTSIDE, Client.OUTSIDE)  # loopback addresses are NodePorts' alone


@functools.lru_cache(maxsize=1024)  # clusters have a handful of policies
def _code(policy: Policy, asked: tuple[Client, ...], usable: Usable | None, served: frozenset[Client]) -> int:
    found = 0
    for client in asked:
        found = found << 3 | _digit(policy.of(client) if client in served else PASS, usable)
    return _CODES | found


def _digit(verdict: Verdict, usable: Usable | None) -> int:
    """Return a verdict's digit. A balance over a set in which nobody takes connections refuses as if the set were empty."""
    if verdict.action is not Action.BALANCE:
        return (Action.PASS, Action.DROP, Action.REJECT).index(verdict.action)
    if usable is None:
        return 2
    if verdict.endpoints is EndpointSet.ALL:
        return 3 if EndpointSet.ALL in usable else 2
    return 4 if EndpointSet.LOCAL in usable else 1


def digits(number: int) -> tuple[int, int, int, int]:
    """Read a code: what pod, node, outside and loopback meet."""
    return (number >> 9 & 7, number >> 6 & 7, number >> 3 & 7, number & 7)


def is_code(number: int) -> bool:
    """Tell whether a number is a policy code."""
    return number >> 16 == 1 and all(digit < len(_WORDS) for digit in digits(number))


def chain_name(number: int) -> str:
    """Return the name of a code's chain: ``policy-all-all-local-pass``."""
    return "policy-" + "-".join(_WORDS[digit] for digit in digits(number))


def policy_chain(number: int, words: Words, pods: PodTest | None) -> tuple[str, ...]:
    """Return the rules that tell the clients apart; the first that fits counts."""
    pod, node, outside, loopback = (_CONSEQUENCES[digit] for digit in digits(number))
    rules = []
    if loopback != outside:
        rules.append(f"{words.ip} daddr {words.loopback} {loopback}")
    if pods and not pod == node == outside:
        rules.append(f"{pod_match(pods, words.ip)} {pod}")
    if node != outside:
        rules.append(f"fib saddr type local {node}")
    return (*rules, outside)


def dispatch_chain(words: Words, facts: Facts) -> tuple[str, ...]:
    """Return the rules that recognise a frontend, a wrong port and an address nobody has."""
    nodeports = facts.family.nodeports
    matches: list[str] = []
    if nodeports.loopback:
        matches.append(f"{words.ip} daddr {words.loopback}")
    if nodeports.every:
        matches.append(f"{words.ip} daddr != {words.loopback} fib daddr type local")
    elif nodeports.addresses:
        matches.append(f"{words.ip} daddr @{layout.NODEPORT_ADDRESSES}")
    frontend = f"meta priority set {words.frontend} map @{layout.FRONTENDS} meta priority vmap @{layout.POLICIES}"
    return (
        "jump guard",
        frontend,
        *(f"{match} jump nodeports" for match in matches),
        *refusal(f"{words.ip} daddr @{layout.CLUSTER_IPS}", facts.wrong_port, Reason.WRONG_PORT),
        *(
            rule
            for prefix in facts.family.service_cidrs
            for rule in refusal(f"{words.ip} daddr {prefix}", facts.unallocated, Reason.UNALLOCATED)
        ),
    )
