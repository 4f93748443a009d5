# SPDX-License-Identifier: Apache-2.0
"""Tells, before anything is changed, whether this machine can do what mode ipvs needs."""

import platform
from typing import Final

from kproxy.dataplanes.ipvs.commit import ServerDoor
from kproxy.dataplanes.ipvs.layout import Options
from kproxy.dataplanes.ipvs.structure import closing, declarations
from kproxy.dataplanes.nft_tables import Facts
from kproxy.kernel.nft import Nft, NftRefused
from kproxy.table.errors import Unsupported
from kproxy.table.node import FamilyFacts, NodePortAddresses, PodTest
from kproxy.table.terms import Family

_MODULES: Final = "nf_tables, nft_chain_nat, nft_fib, nft_masq, nft_reject"


def probe(family: Family, options: Options, nft: Nft, door: ServerDoor) -> None:
    """Raise Unsupported or PermissionDenied with the mend if something is missing; nothing is changed."""
    nft.version()
    facts = Facts(FamilyFacts(PodTest(interface_prefix="veth"), NodePortAddresses(every=True)))
    try:
        nft.check("".join(f"{line}\n" for line in (*declarations(family), *closing(family, options, facts))))
    except NftRefused as refusal:
        raise Unsupported(
            f"kernel {platform.release()} does not take the rules of mode ipvs for {family} ({refusal}): see that the "
            f"modules {_MODULES} can be loaded, or take another mode"
        ) from refusal
    door.probe([options.scheduler])
