# SPDX-License-Identifier: Apache-2.0
"""Tells, before anything is changed, whether this machine can do what mode nftables needs."""

import platform
import re
from typing import Final

from kproxy.dataplanes.nft_tables import Facts
from kproxy.dataplanes.nftables.committed import Committed
from kproxy.dataplanes.nftables.layout import WORDS, Kind, Options, Scope
from kproxy.dataplanes.nftables.shapes import Balancer, Meeting
from kproxy.dataplanes.nftables.structure import Structure
from kproxy.kernel.nft import Nft, NftRefused
from kproxy.table.errors import Unsupported
from kproxy.table.node import FamilyFacts, NodePortAddresses, PodTest
from kproxy.table.terms import Family

OLDEST_KERNEL: Final = (5, 13)  # look-ups and updates as we write them work from there on
_TABLE: Final = "kproxy-probe"
_MODULES: Final = "nf_tables, nft_chain_nat, nft_ct, nft_fib, nft_hash, nft_masq, nft_nat, nft_numgen, nft_reject"


def probe(family: Family, options: Options, nft: Nft) -> None:
    """Raise Unsupported or PermissionDenied with the mend if something is missing; nothing is changed."""
    release = platform.release()
    match = re.match(r"(\d+)\.(\d+)", release)
    if match and (int(match[1]), int(match[2])) < OLDEST_KERNEL:
        raise Unsupported(f"the kernel is {release}; mode nftables needs 5.13 or newer: take another mode or upgrade")
    nft.version()
    try:
        nft.check("".join(f"{line}\n" for line in example(family, options)))
    except NftRefused as refusal:
        raise Unsupported(
            f"kernel {release} does not take the rules of mode nftables for {family} ({refusal}): see that the modules "
            f"{_MODULES} can be loaded, or take another mode"
        ) from refusal


def example(family: Family, options: Options) -> list[str]:
    """Return the commands for a table with every expression we ever use."""
    words = WORDS[family]
    pods = PodTest(interface_prefix="veth")
    facts = Facts(FamilyFacts(pods, NodePortAddresses(every=True)))
    structure = Structure(Committed(), f"{words.ip} {_TABLE}", words, options, facts)
    for kind in Kind:
        structure.need_policy(kind, Meeting((3, 4, 5)))
        for scope in Scope:
            for balancer in (Balancer(2), Balancer(2, affinity=10), Balancer(1021, hashed=True)):
                structure.need_balancer(kind, scope, balancer)
    return [*structure.prepare(), *structure.closing()]
