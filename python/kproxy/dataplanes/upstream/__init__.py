# SPDX-License-Identifier: Apache-2.0
"""What kube-proxy leaves on a node: finding it, and taking it out without touching anybody else's.

- ``names``: what it calls things; ``chains``: its part of an iptables table; ``ipvs``: servers, device and sets
- ``found``: sentences on what is there; ``remove``: takes it out; ``connections``: what would be cut by that

Both look at nftables, both kinds of iptables and IPVS, in both families. They are slow (seconds beside tens of thousands of
rules), belong to a start, a take-over or ``--cleanup``, and may be repeated at any time.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from kproxy.dataplanes.upstream import chains, ipvs
from kproxy.dataplanes.upstream.names import DEVICE, NFT_TABLE
from kproxy.kernel.nfnl import has_table
from kproxy.kernel.nft import Nft, is_installed
from kproxy.kernel.xtables import Xtables
from kproxy.table.errors import KernelError
from kproxy.table.terms import Family

_NFT_FAMILY: Final = {Family.IPV4: "ip", Family.IPV6: "ip6"}
_IN_FLIGHT: Final = 0.05  # seconds a packet may still be inside a chain nothing points to any more
_ATTEMPTS: Final = 3  # somebody else may change the same table between our look and our change


class Removal(msgspec.Struct, frozen=True):
    """What was done, what was left on purpose, and what failed.

    ``connections``: how many are established through virtual servers that were left for their sake.
    """

    done: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    errors: tuple[KernelError, ...] = ()
    connections: int = 0


class _Account:
    """Collects what a Removal tells; an error ends one step and no other."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.kept: list[str] = []
        self.errors: list[KernelError] = []
        self.connections = 0

    def attempt(self, step: Callable[["_Account"], None]) -> None:
        try:
            step(self)
        except KernelError as error:
            self.errors.append(error)


def _nft_tables() -> list[str]:
    """Return ``ip kube-proxy`` and ``ip6 kube-proxy``, as far as they exist."""
    if not is_installed():
        return []
    return [f"{word} {NFT_TABLE}" for family, word in _NFT_FAMILY.items() if has_table(family, NFT_TABLE)]


def _leftovers(xtables: Xtables) -> list[chains.Leftovers]:
    return [chains.leftovers(name, table) for name, table in xtables.save().items()]


def found() -> list[str]:
    """Return a sentence for each kind of thing that kube-proxy left here; none: nothing of its own is in force.

    Raises KernelError when nothing is found but a tool could not look; ``remove`` tells that error too.
    """
    account = _Account()
    account.attempt(_look_at_nft)
    for xtables in Xtables.every():
        account.attempt(_look_at(xtables))
    account.attempt(_look_at_ipvs)
    if account.errors and not account.done:
        raise account.errors[0]
    return account.done


def _look_at_nft(account: _Account) -> None:
    account.done += [f"nftables: table {table}" for table in _nft_tables()]


def _look_at(xtables: Xtables) -> Callable[[_Account], None]:
    def step(account: _Account) -> None:
        account.done += [
            f"{xtables}: {len(item.chains)} chains and {len(item.jumps)} jumps in table {item.table}"
            for item in filter(None, _leftovers(xtables))
        ]

    return step


def _look_at_ipvs(account: _Account) -> None:
    if ipvs.has_device():
        account.done.append(f"device {DEVICE}")
    sets = ipvs.sets()
    if sets:
        account.done.append(f"{len(sets)} ipsets ({', '.join(sets[:3])}{', …' if len(sets) > 3 else ''})")
    servers = ipvs.servers(sets)
    if servers:
        account.done.append(f"IPVS: {len(servers)} virtual servers")


def connections() -> int:
    """Return how many connections are established through kube-proxy's virtual servers. Raises KernelError."""
    return sum(ipvs.established(each) for each in ipvs.held(ipvs.sets()).values())


def remove(*, spare: bool = False) -> Removal:
    """Take all of it out. What fails is collected, the rest is done nevertheless; a second run finds nothing to do.

    ``spare``: virtual servers that hold established connections stay for these alone, with the device and the sets, and
    lead new ones on to this node. Without it such connections end, as one does whose rules have gone.
    """
    account = _Account()
    account.attempt(_remove_nft_tables)
    for xtables in Xtables.every():
        account.attempt(_remove_chains_of(xtables))
    if spare:
        account.attempt(_spare_servers)
    if not account.connections:
        account.attempt(_remove_servers)
        account.attempt(_remove_device)
        account.attempt(_remove_sets)  # last: rules may have used them
    return Removal(tuple(account.done), tuple(account.kept), tuple(account.errors), account.connections)


def _remove_nft_tables(account: _Account) -> None:
    for table in _nft_tables():
        Nft().apply(f"delete table {table}\n")
        account.done.append(f"nftables: table {table} deleted")


def _remove_chains_of(xtables: Xtables) -> Callable[[_Account], None]:
    def step(account: _Account) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            items = _leftovers(xtables)
            try:
                _take_out(xtables, items)
            except KernelError:
                if attempt == _ATTEMPTS:
                    raise
                continue  # look again: the table may have changed under us
            account.done += _reports(xtables, items)
            account.kept += [
                f"{xtables}: chain {chain} of table {item.table} stays: a rule that is not kube-proxy's uses it: {rule}"
                for item in items
                for chain, rule in item.kept.items()
            ]
            return

    return step


def _take_out(xtables: Xtables, items: list[chains.Leftovers]) -> None:
    jumps, rest = chains.unlink(items), chains.delete(items)
    if jumps:
        xtables.restore(jumps)
        time.sleep(_IN_FLIGHT)
    if rest:
        xtables.restore(rest)


def _reports(xtables: Xtables, items: list[chains.Leftovers]) -> Iterator[str]:
    for item in filter(None, items):
        yield f"{xtables}: {len(item.chains)} chains and {len(item.jumps)} jumps removed from table {item.table}"


def _spare_servers(account: _Account) -> None:
    held = ipvs.held(ipvs.sets())
    account.connections = sum(map(ipvs.established, held.values()))
    if account.connections:
        ipvs.lead_on(held)
        account.kept.append(f"IPVS: {len(held)} virtual servers stay for {account.connections} established connections")


def _remove_servers(account: _Account) -> None:
    own = ipvs.servers(ipvs.sets())
    if own:
        ipvs.delete_servers(own)
        account.done.append(f"IPVS: {len(own)} virtual servers deleted")
        ipvs.forget_flows(own)


def _remove_device(account: _Account) -> None:
    if ipvs.has_device():
        ipvs.delete_device()
        account.done.append(f"device {DEVICE} deleted")


def _remove_sets(account: _Account) -> None:
    for name in ipvs.sets():
        try:
            ipvs.delete_set(name)
        except KernelError as error:
            account.errors.append(error)
        else:
            account.done.append(f"ipset {name} destroyed")
