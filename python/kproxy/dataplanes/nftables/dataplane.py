# SPDX-License-Identifier: Apache-2.0
"""The nftables dataplane of one family: the contract, put together from its parts."""

from collections.abc import Sequence

from kproxy import _core
from kproxy.dataplanes.contract import Applied, Counters, Difference, Refused
from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.commit import BatchRefused, Committer, ElementDoor, NetlinkDoor, TextDoor
from kproxy.dataplanes.nftables.committed import Committed
from kproxy.dataplanes.nftables.compile import compile_changes
from kproxy.dataplanes.nftables.counters import Counting
from kproxy.dataplanes.nftables.elements import schemas
from kproxy.dataplanes.nftables.layout import Options
from kproxy.dataplanes.nftables.probe import probe
from kproxy.dataplanes.nftables.readback import Reader
from kproxy.dataplanes.nftables.transaction import NftTransaction, Target
from kproxy.dataplanes.nftables.upkeep import Use, make_ahead, sweep, take_chains
from kproxy.dataplanes.nftables.verify import differences
from kproxy.kernel.nfnl import NUMBERS
from kproxy.kernel.nft import Nft, NftRefused
from kproxy.kernel.nft_rules import read_rules
from kproxy.kernel.nft_watch import Watch
from kproxy.table.errors import KernelError
from kproxy.table.routing_table import Changes, RoutingTable
from kproxy.table.terms import Family, Mode


class NftablesDataplane:
    """Serves one family in mode nftables, in the network namespace of the thread that makes it.

    ``masquerade_bit`` is the bit of the packet mark that is ours; ``affinity_size`` how many clients each affinity map
    remembers; ``count_bytes`` counts packets and bytes per endpoint, for a look-up a translated packet. With ``text``
    elements are written through the ``nft`` command too, which costs a process a change.
    """

    mode = Mode.NFTABLES

    def __init__(
        self,
        family: Family,
        *,
        masquerade_bit: int = layout.DEFAULT_MASQUERADE_BIT,
        affinity_size: int = layout.DEFAULT_AFFINITY_SIZE,
        count_bytes: bool = False,
        text: bool = False,
    ) -> None:
        self.family = family
        self.options = Options(masquerade_bit, affinity_size, count_bytes)
        self._schemas = schemas(family, self.options)
        self._nft = Nft(noticed=lambda process: Watch.ended(NUMBERS[family], process))
        self._socket = _core.NftSocket()
        Watch.own(self._socket.portid)
        self._watch = Watch(NUMBERS[family])
        self._reader = Reader(family, self._schemas, self._socket, self._nft)
        self._counting = Counting(family, self._socket, self.options)
        door: ElementDoor = TextDoor(self._nft) if text else NetlinkDoor(self._socket, family)
        self._committer = Committer(self._nft, door)
        self._committed = Committed()
        self._is_fingerprint_due = False
        self._is_stale = False  # the kernel has refused what it would not refuse if it held what we think
        self._is_doubtful = False  # others have been at the table since it was read
        self._used: set[Use] = set()  # balancers whose neighbours may be wanted next
        self._unpointed: list[str] = []  # chains that nothing points to any more
        self._is_news = False  # and that has not been told yet

    def probe(self) -> None:
        """Raise Unsupported or PermissionDenied with the mend, before anything is changed."""
        probe(self.family, self.options, self._nft)

    def found(self) -> bool:
        """Tell whether one of our tables is there. Raises KernelError."""
        return bool(self._tables())

    def empty(self) -> Committed:
        """Return what a kernel holds that has no table of ours."""
        return Committed()

    def read_back(self) -> Committed:
        """Read what of ours the kernel holds. Raises KernelError."""
        self._committer.forget()
        self._watch.noticed(self._committed.table)  # whatever it was: the reading will show it
        self._is_stale = self._is_doubtful = self._is_news = self._is_fingerprint_due = False
        self._used, self._unpointed = set(), []
        self._committed = self._reader.read()
        return self._committed

    def compile(self, committed: Committed, changes: Changes) -> NftTransaction:
        """Return the transaction that takes the kernel to ``changes.after``."""
        return compile_changes(committed, changes, self.options, Target(self.family, committed.table, self._schemas))

    def commit(self, transaction: NftTransaction) -> Applied | Refused:
        """Send a transaction's phases: chains, elements, closing rules; what must wait is put off to ``settle``."""
        committed, outcome = self._committed, transaction.outcome
        if outcome.revision != committed.revision:
            return Refused("the table was changed after this transaction was compiled: compile it again")
        try:
            if transaction.prepare:
                self._committer.structure(transaction.prepare)
                self._is_fingerprint_due = True
                committed.built(outcome)
            self._committer.elements(transaction, lambda batch: self._counting.keep(committed, batch))
            if transaction.closing:
                self._close(transaction)
        except BatchRefused as refusal:
            self._is_stale |= refusal.stale
            self._note_fingerprint()
            return Refused(str(refusal), frozenset([refusal.owner]) if refusal.owner and not refusal.stale else frozenset())
        except NftRefused as refusal:
            self._is_stale = True
            return Refused(str(refusal))
        committed.advance(outcome)
        self._committer.put_off(transaction)
        self._used |= outcome.used
        if transaction.closing:
            try:
                self._keep_chains()
            except NftRefused:
                self._is_stale = True  # no part of the transaction; what is wrong, reading back will show
            self._note_fingerprint()
        return Applied(committed, transaction.limits)

    def _close(self, transaction: NftTransaction) -> None:
        try:
            self._committer.structure(transaction.closing)
        except KernelError:
            self._committer.take_back(transaction.target, transaction.batches)
            raise
        self._is_fingerprint_due = True

    def settle(self) -> None:
        """Send deletions that waited for packets in flight, and see to the chains. Raises KernelError."""
        try:
            self._committer.settle(lambda batch: self._counting.keep(self._committed, batch))
            self._keep_chains()
        except (BatchRefused, NftRefused):
            self._is_stale = True
            raise
        self._note_fingerprint()

    def _keep_chains(self) -> None:
        """Make chains that may be wanted next, take away those that long were not."""
        committed = self._committed
        target = Target(self.family, committed.table, self._schemas)
        used, self._used = self._used, set()
        pointed = set(committed.verdicts.values()) if self._unpointed else set()
        unpointed, self._unpointed = [name for name in self._unpointed if name not in pointed], []
        if unpointed:
            self._committer.structure(take_chains(unpointed, target))
            self._is_fingerprint_due = True
        work = make_ahead(committed, used, target, self.options) if used else None
        if work is None and used:
            work = sweep(committed, target)
        if work:
            self._committer.structure(work.lines)
            committed.built(work.outcome)
            self._unpointed = committed.unpoint(work.gone)
            self._is_fingerprint_due = True

    def verify(self, committed: Committed, table: RoutingTable) -> Sequence[Difference]:
        """Compare what is committed with a table. A read-back that agrees is known, route by route, from then on."""
        target = Target(self.family, committed.table, self._schemas)
        found = differences(committed, table, target, self.options)
        if committed.found is not None and not found:
            transaction = compile_changes(committed, Changes(None, table), self.options, target)
            if not transaction.operations:
                committed.advance(transaction.outcome)
        return found

    def counters(self) -> Counters:
        """Read the counters. Raises KernelError."""
        return self._counting.read(self._committed)

    def foreign_changes(self) -> bool:
        """Tell whether others have changed the table since the last call, or it has shown itself to be changed."""
        self._look()
        news, self._is_news, self._is_stale = self._is_news or self._is_stale, False, False
        return news

    def retire(self) -> bool:
        """Take the rules out of the chains that see a new connection first. Raises KernelError.

        The kernel goes on translating established connections by itself as long as there are nat chains at its hooks, whose
        ever: ours stay until ``remove``, and with them what a first packet on its way through meets in postrouting.
        """
        self._committer.forget()
        for table in self._tables():
            present = read_rules(NUMBERS[self.family], table).chains
            self._nft.apply(
                "".join(f"flush chain {self._words} {table} {name}\n" for name in layout.ENTRANCES if name in present)
            )
        return True

    def remove(self) -> None:
        """Delete our tables. Raises KernelError."""
        self._committer.forget()
        for table in self._tables():
            self._nft.apply(f"delete table {self._words} {table}\n")
        self._committed = Committed()

    @property
    def _words(self) -> str:
        return layout.WORDS[self.family].ip

    def _tables(self) -> list[str]:
        """Name those of our tables that are there."""
        try:
            return [name for name in layout.TABLES if self._socket.has_table(NUMBERS[self.family], name)]
        except _core.NetlinkError as error:
            raise KernelError(f"our tables cannot be looked for: {error.strerror}") from error

    def _look(self) -> bool:
        """Tell whether others have changed the table since it was read."""
        if self._watch.noticed(self._committed.table):
            self._is_doubtful = self._is_news = True
        return self._is_doubtful

    def _note_fingerprint(self) -> None:
        """Let a restart know our rules again. Not urgent: without, it writes them once more."""
        if self._is_fingerprint_due:
            self._is_fingerprint_due = False
            now = self._reader.fingerprint(self._committed.table)
            if not self._look():  # else what was read may be somebody else's
                self._reader.note_fingerprint(self._committed.table, now)

    def close(self) -> None:
        """Let go of the sockets; the rules stay."""
        self._watch.close()
        del self._socket, self._reader, self._counting, self._committer
