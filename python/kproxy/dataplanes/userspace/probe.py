# SPDX-License-Identifier: Apache-2.0
"""Tells, before anything is changed, whether this machine can do what mode userspace needs."""

import platform
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.dataplanes.nft_tables import Facts
from kproxy.dataplanes.userspace.elements import schemas
from kproxy.dataplanes.userspace.layout import WORDS, Options
from kproxy.dataplanes.userspace.structure import Structure
from kproxy.kernel.nft import Nft, NftRefused
from kproxy.kernel.sysctl import Sysctls
from kproxy.table.errors import Unsupported
from kproxy.table.node import FamilyFacts, NodePortAddresses, PodTest
from kproxy.table.terms import Family

_MODULES: Final = "nf_tables, nft_ct, nft_fib, nft_reject, nft_socket, nft_tproxy, nft_chain_nat"


def probe(family: Family, options: Options, nft: Nft, sysctls: Sysctls | None = None) -> None:
    """Raise Unsupported or PermissionDenied with the mend if something is missing; nothing is changed."""
    nft.version()
    try:
        nft.check("".join(f"{line}\n" for line in example(family, options)))
    except NftRefused as refusal:
        raise Unsupported(
            f"kernel {platform.release()} does not take the rules of mode userspace for {family} ({refusal}): see that the "
            f"modules {_MODULES} can be loaded, or take another mode"
        ) from refusal
    for words in obstacles(family, options, sysctls or Sysctls()):
        raise Unsupported(words)


def example(family: Family, options: Options) -> list[str]:
    """Return the commands for a table with every expression we ever use."""
    facts = Facts(FamilyFacts(PodTest(interface_prefix="veth"), NodePortAddresses(every=True, loopback=True)))
    with_bridges = msgspec.structs.replace(options, carried=options.serves_all)
    structure = Structure(WORDS[family], with_bridges, facts, frozenset({1 << 16 | 0o3421}))
    table = f"{WORDS[family].ip} {options.table}-probe"
    return [*structure.everything(table, schemas(family).values()), *structure.closing(table)]


def obstacles(family: Family, options: Options, sysctls: Sysctls) -> Iterator[str]:
    """Yield what would keep packets from the relay, in sentences with the mend."""
    if not options.serves_all:
        return
    if family is Family.IPV4 and sysctls.read("net.ipv4.conf.all.src_valid_mark"):
        yield (
            "net.ipv4.conf.all.src_valid_mark is 1 (wg-quick sets it), so the kernel drops what mode userspace takes: set "
            "it to 0, or take another mode"
        )


def carried(family: Family, sysctls: Sysctls | None = None) -> bool:
    """Tell whether ``br_netfilter`` shows a bridge's frames to our rules; kubeadm has it do so."""
    name = "net.bridge.bridge-nf-call-iptables" if family is Family.IPV4 else "net.bridge.bridge-nf-call-ip6tables"
    return bool((sysctls or Sysctls()).read(name))
