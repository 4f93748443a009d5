# SPDX-License-Identifier: Apache-2.0
"""Tells, before anything is changed, whether this machine can do what mode iptables needs."""

import re
from typing import Final

from kproxy.dataplanes.iptables.layout import NAT, PREFIX, Options
from kproxy.kernel.xtables import Xtables, XtablesRefused
from kproxy.table.errors import Unsupported

OLDEST: Final = (1, 8, 3)  # -nft prints and takes every rule of ours from there on


def probe(xtables: Xtables, options: Options) -> None:
    """Raise Unsupported or PermissionDenied with the mend if something is missing; nothing is changed."""
    version = xtables.version()  # says what to install where it is missing
    if tuple(int(part) for part in re.findall(r"\d+", version))[:3] < OLDEST:
        raise Unsupported(f"{xtables} is {version}; mode iptables needs {'.'.join(map(str, OLDEST))} or newer: upgrade it")
    try:
        xtables.restore(_example(options), test=True)
    except XtablesRefused as refusal:
        raise Unsupported(f"{xtables} does not take the rules of mode iptables ({refusal}): take another mode") from refusal


def _example(options: Options) -> str:
    """Return rules with the matches and targets that every table needs."""
    chain = f"{PREFIX}PROBE"
    rules = (
        " -p tcp -m comment --comment kproxy -m tcp --dport 80 -m statistic --mode random --probability 0.50000000000",
        " -m addrtype --dst-type LOCAL",
        " -m conntrack --ctstate DNAT",
        options.set_mark,
        options.masquerade,
    )
    return "\n".join([f"*{NAT}", f":{chain} - [0:0]", *(f"-A {chain}{rule}" for rule in rules), "COMMIT", ""])
