# SPDX-License-Identifier: Apache-2.0
"""The chains that belong to no Service: what leads into the trees, masquerading, what may be forwarded."""

from collections.abc import Iterable, Iterator

from kproxy.dataplanes.iptables import layout
from kproxy.dataplanes.iptables.layout import WORDS, Chain, Options, Words
from kproxy.dataplanes.iptables.rules import Match, Rule
from kproxy.table.node import FamilyFacts, NodePortAddresses
from kproxy.table.terms import Family

_STATE = " -m conntrack --ctstate "
_TRANSLATED = f"{_STATE}DNAT"


def fixed(family: Family, facts: FamilyFacts, options: Options) -> Iterator[tuple[Chain, tuple[Rule, ...]]]:
    """Yield the chains that no Service changes.

    Our bit is cleared before the packet leaves: one that is wrapped in another passes here twice. A marked packet that was
    not translated after all keeps its source. ``route_localnet`` opens 127.0.0.0/8 to the network, so it is closed here to
    all but translated connections.
    """
    words = WORDS[family]
    marked = f" -m mark --mark {options.mark}/{options.mark}"
    yield (
        layout.POSTROUTING,
        (
            Rule(f"{marked} -j {layout.MASQUERADE[1]}"),
            Rule(f"{_TRANSLATED} -j {layout.HAIRPIN[1]}"),
        ),
    )
    yield layout.MASQUERADE, (Rule(options.clear_mark), Rule(f"{_TRANSLATED}{options.masquerade}"))
    refuse = Rule(f"{_STATE}NEW -j {layout.REFUSE[1]}")
    invalid = (Rule(f"{_STATE}INVALID -j DROP"),) if options.drop_invalid else ()
    ours, related = Rule(f"{marked}{_TRANSLATED} -j ACCEPT"), Rule(f"{_STATE}RELATED,ESTABLISHED -j ACCEPT")
    yield layout.FORWARD, (*invalid, refuse, ours, related)
    outside = Match(source=f"! {words.loopback}", destination=words.loopback, interface="! lo")
    localnet = Rule(f"{outside.text} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP")
    yield layout.INPUT, ((localnet, refuse) if facts.nodeports.loopback else (refuse,))
    yield layout.OUTPUT, (refuse,)


def services(ways: Iterable[Rule], facts: FamilyFacts, family: Family) -> tuple[Rule, ...]:
    """Return the chain of table nat where every first packet begins: addresses first, then NodePorts."""
    return (*ways, *_node_ports(facts.nodeports, WORDS[family], layout.NODEPORTS))


def refuse(ways: Iterable[Rule], facts: FamilyFacts, family: Family) -> tuple[Rule, ...]:
    """Return the chain of table filter that looks for a reason to refuse a packet that nobody has translated."""
    node_ports = _node_ports(facts.nodeports, WORDS[family], layout.REFUSE_NODEPORTS)
    return (Rule(f"{_TRANSLATED} -j RETURN"), *ways, *node_ports)


def _node_ports(served: NodePortAddresses, words: Words, chain: Chain) -> Iterator[Rule]:
    """Yield the rules that lead to NodePorts on the addresses that serve them."""
    if served.loopback:
        yield Rule(f"{Match(destination=words.loopback).text} -j {chain[1]}")
    if served.every:
        not_loopback = Match(destination=f"! {words.loopback}").text
        yield Rule(f"{not_loopback} -m addrtype --dst-type LOCAL -j {chain[1]}")
    else:
        for address in served.addresses:
            yield Rule(f"{Match(destination=words.host(address)).text} -j {chain[1]}")
