# SPDX-License-Identifier: Apache-2.0
"""The nftables dataplane of one family: the contract, put together from its parts."""

from kproxy import _core
from kproxy.dataplanes.contract import Applied, Refused
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.commit import BatchRefused, Committer, ElementDoor, NetlinkDoor, TextDoor
from kproxy.dataplanes.nftables.committed import Committed
from kproxy.dataplanes.nftables.compile import compile_changes
from kproxy.dataplanes.nftables.elements import schemas
from kproxy.dataplanes.nftables.layout import Options
from kproxy.dataplanes.nftables.transaction import NftTransaction, Target
from kproxy.kernel.nft import Nft, NftRefused
from kproxy.table.routing_table import Changes
from kproxy.table.terms import Family, Mode


class NftablesDataplane:
    """Serves one family in mode nftables. With ``text`` elements go through the ``nft`` command as well."""

    mode = Mode.NFTABLES

    def __init__(
        self,
        family: Family,
        *,
        masquerade_bit: int = layout.DEFAULT_MASQUERADE_BIT,
        affinity_size: int = layout.DEFAULT_AFFINITY_SIZE,
        text: bool = False,
        nft: Nft | None = None,
    ) -> None:
        self.family = family
        self.options = Options(masquerade_bit, affinity_size)
        self._nft = nft or Nft()
        self._text = text or not hasattr(_core, "NftSocket")
        door: ElementDoor = TextDoor(self._nft) if self._text else NetlinkDoor(family)
        self._target = Target(family, layout.TABLE, schemas(family, self.options))
        self._committer = Committer(self._nft, door, self._target)
        self._committed = Committed()
        self._foreign = False

    def compile(self, committed: Committed, changes: Changes) -> NftTransaction:
        """Return the transaction that takes the kernel to ``changes.after``."""
        return compile_changes(committed, changes, self.options, self._target)

    def commit(self, transaction: NftTransaction) -> Applied | Refused:
        """Send a transaction's phases: chains, elements, closing rules; what must wait is put off."""
        committed = self._committed
        if transaction.outcome.revision != committed.revision:
            return Refused("the table was changed after this transaction was compiled: compile it again")
        try:
            self._committer.structure(list(transaction.prepare))
            committed.built(transaction.outcome)
            self._committer.elements(transaction)
            self._committer.structure(list(transaction.closing))
        except BatchRefused as refusal:
            self._foreign |= refusal.stale
            return Refused(str(refusal), frozenset([refusal.owner]) if refusal.owner else frozenset())
        except NftRefused as refusal:
            return Refused(str(refusal))
        self._committer.put_off(transaction)
        committed.advance(transaction.outcome)
        return Applied(committed, transaction.limits)

    def settle(self) -> None:
        """Send deletions that waited for packets in flight."""
        try:
            self._committer.settle()
        except BatchRefused:
            self._foreign = True
            raise

    def remove(self) -> None:
        """Delete the table."""
        self._committer.forget()
        table = self._target.table
        self._nft.apply(f"add table {table}\ndelete table {table}\n")
        self._committed = Committed()

    def close(self) -> None:
        """Give back the sockets; the rules stay."""
