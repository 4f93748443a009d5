# SPDX-License-Identifier: Apache-2.0
"""Shares are exact to the kernel's 31 bits, however a set is split into chains."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.dataplanes.iptables import balance, shares
from kproxy.dataplanes.iptables.layout import Options
from kproxy.dataplanes.iptables.rules import Rule
from kproxy.table.route import Route
from kproxy.table.terms import EndpointSet, Family
from tests.examples import examples
from tests.unit.dataplanes.tables import endpoint, frontend, route

V4 = Family.IPV4


def share_of_each(rules: tuple[Rule, ...], chains: dict[str, tuple[Rule, ...]], arriving: float) -> dict[str, float]:
    """Work out how many of the packets that arrive at a chain go to each endpoint."""
    found: dict[str, float] = {}
    for rule in rules:
        match = re.search(r"--probability ([0-9.]+)", rule.text)
        taken = arriving * float(match[1]) if match else arriving
        arriving -= taken
        goes = re.search(r" -g (\S+)", rule.text)
        if goes:
            found |= share_of_each(chains[goes[1]], chains, taken)
        else:
            found[rule.text.rpartition(" ")[2]] = taken
    return found


def web(weights: list[int], **fields: object) -> Route:
    """Return a Service with endpoints of these weights."""
    endpoints = [endpoint(V4, index + 1, weight=weight) for index, weight in enumerate(weights)]
    return route(V4, "web", [frontend(V4, 1)], endpoints, **fields)


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=253))
def test_each_endpoint_gets_its_weight(weights: list[int]) -> None:
    """Whatever the number of endpoints: nobody gets more or less than its weight says, and weight 0 nothing."""
    given_ = web(weights)
    total = sum(weights)
    chains = {name: rules for (_, name), rules in balance.chains(given_, EndpointSet.ALL, Options())}
    if not total:
        return
    found = share_of_each(chains[balance.chain_of(given_, EndpointSet.ALL)[1]], chains, 1.0)
    due = {each.key: each.weight / total for each in given_.all if each.weight}
    assert found.keys() == due.keys()
    assert all(abs(found[key] - due[key]) < 1e-8 for key in due)


def test_no_chain_is_long() -> None:
    """A thousand endpoints are chosen from by tens of comparisons."""
    chains = dict(balance.chains(web([1] * 250), EndpointSet.ALL, Options()))
    assert max(map(len, chains.values())) <= shares.FAN_OUT


def test_probabilities_are_printed_as_the_kernel_rounds_them() -> None:
    """31 bits, eleven decimals: what is read back is what was written."""
    assert shares.probability(1, 3) == " -m statistic --mode random --probability 0.33333333349"
    assert shares.probability(1, 2) == " -m statistic --mode random --probability 0.50000000000"
    assert shares.probability(1, 10) == " -m statistic --mode random --probability 0.10000000009"
