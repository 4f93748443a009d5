# SPDX-License-Identifier: Apache-2.0
"""Taking everything of ours out, in two steps: first nothing leads to our chains any more, then they go.

What is ours is read from the kernel, so this needs no memory, and may be repeated.
"""

import time
from collections.abc import Callable
from typing import Final

from kproxy.dataplanes.iptables.layout import TABLES
from kproxy.dataplanes.iptables.readback import own_sets, read_back
from kproxy.dataplanes.iptables.transaction import deletion, text_of
from kproxy.kernel import ipset
from kproxy.kernel.xtables import Xtables
from kproxy.table.terms import Family

_IN_FLIGHT: Final = 0.05  # seconds a packet may still be inside a chain nothing points to any more


def unlink(xtables: Xtables, ended: Callable[[int], None]) -> None:
    """Take out the rules of built-in chains that lead to ours. Raises KernelError."""
    found = read_back(xtables, sets=False)
    text = ""
    for table in TABLES:
        lines = [f"-D {chain}{rule}" for (where, chain), rules in found.jumps.items() if where == table for rule in rules]
        if lines:
            text += "\n".join([f"*{table}", *lines, "COMMIT", ""])
    if text:
        xtables.restore(text, ended=ended)
        time.sleep(_IN_FLIGHT)


def delete(xtables: Xtables, ended: Callable[[int], None]) -> None:
    """Delete our chains; nothing may lead to them. Raises KernelError."""
    found = read_back(xtables, sets=False)
    lines = [line for table in TABLES for line in deletion(table, [chain for chain in found.chains if chain[0] == table])]
    if lines:
        xtables.restore(text_of(lines), ended=ended)


def destroy_sets(family: Family) -> None:
    """Destroy our ipsets; no rule may name them. Raises KernelError."""
    names = own_sets(family) if ipset.works() else []
    if names:
        ipset.restore("".join(f"destroy {name}\n" for name in names))
