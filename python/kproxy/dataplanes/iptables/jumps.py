# SPDX-License-Identifier: Apache-2.0
"""The rules of built-in chains that lead to ours."""

from kproxy.dataplanes.iptables.committed import Found
from kproxy.dataplanes.iptables.layout import COMMENT, JUMPS, Chain


def jump(chain: Chain) -> str:
    """Return the rule that leads from a built-in chain to one of ours."""
    return f" -m comment --comment {COMMENT} -j {chain[1]}"


def missing(found: Found) -> tuple[Chain, ...]:
    """Return the built-in chains that lack theirs."""
    return tuple(built_in for built_in, ours in JUMPS if jump(ours) not in found.jumps.get(built_in, ()))


def strays(found: Found) -> tuple[tuple[Chain, str], ...]:
    """Return rules of ours that stand in built-in chains and should not: of another layout, or twice."""
    wanted = {(built_in, jump(ours)) for built_in, ours in JUMPS}
    held = [(built_in, text) for built_in, texts in found.jumps.items() for text in texts]
    return tuple(rule for index, rule in enumerate(held) if rule not in wanted or rule in held[:index])
