# SPDX-License-Identifier: Apache-2.0
"""The ipvs dataplane of one family: the contract, put together from its parts."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from kproxy import _core
from kproxy.dataplanes.contract import Applied, Counters, Difference, Refused
from kproxy.dataplanes.ipvs import layout
from kproxy.dataplanes.ipvs.canary import Canary
from kproxy.dataplanes.ipvs.commit import ChangeRefused, Committer, ServerDoor
from kproxy.dataplanes.ipvs.committed import Committed
from kproxy.dataplanes.ipvs.compile import compile_changes
from kproxy.dataplanes.ipvs.counters import Counting
from kproxy.dataplanes.ipvs.drain import Drain
from kproxy.dataplanes.ipvs.layout import TABLE, WORDS, Options
from kproxy.dataplanes.ipvs.parting import is_here, parting
from kproxy.dataplanes.ipvs.probe import probe
from kproxy.dataplanes.ipvs.readback import Reader
from kproxy.dataplanes.ipvs.settings import HostSettings
from kproxy.dataplanes.ipvs.transaction import IpvsTransaction
from kproxy.dataplanes.ipvs.verify import differences
from kproxy.kernel.ipvs import Ipvs
from kproxy.kernel.ipvs_values import Held, Operation, ServerKey
from kproxy.kernel.nfnl import NUMBERS
from kproxy.kernel.nft import Nft, NftRefused
from kproxy.kernel.nft_elements import Codec
from kproxy.kernel.nft_rules import read_rules
from kproxy.kernel.nft_watch import Watch
from kproxy.kernel.sysctl import Sysctls
from kproxy.table.routing_table import Changes, RoutingTable
from kproxy.table.terms import Family, Mode

log: Final = logging.getLogger(__name__)


class IpvsDataplane:
    """Serves one family in mode ipvs, in the network namespace of the thread that makes it.

    For tests: ``door``, another way to IPVS than the kernel's own; ``sysctls``, others than the kernel's; ``clock``, seconds
    that only grow.
    """

    mode = Mode.IPVS

    def __init__(
        self,
        family: Family,
        options: Options | None = None,
        *,
        door: ServerDoor | None = None,
        sysctls: Sysctls | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.family = family
        self.options = options or Options()
        self._clock = clock
        self._nft = Nft(noticed=lambda process: Watch.ended(NUMBERS[family], process))
        self._socket = _core.NftSocket()
        Watch.own(self._socket.portid)
        self._watch = Watch(NUMBERS[family])
        self._door_made = door
        self._settings = HostSettings(family, self.options, sysctls or Sysctls())
        self._reader = Reader(family, self.options, self._socket, self._settings)
        self._counting = Counting(family, self._socket)
        self._drain_made: Drain | None = None
        self._canary_made: Canary | None = None
        self._committed = Committed()
        self._missing: frozenset[str] = frozenset()  # schedulers the kernel was asked for and does not have
        self._is_stale = False  # the kernel has refused what it would not refuse if it held what we think
        self._is_doubtful = False  # others have been at the table since it was read
        self._is_news = False  # and that has not been told yet
        self._is_note_due = False
        self._retired_at: float | None = None

    @property
    def _door(self) -> ServerDoor:
        """The way to IPVS, whose module is loaded only when it is used."""
        if self._door_made is None:
            self._door_made = Ipvs()
        return self._door_made

    @property
    def _committer(self) -> Committer:
        return Committer(self.family, self._nft, self._socket, self._door, self._settings)

    @property
    def _drain(self) -> Drain:
        if self._drain_made is None:
            self._drain_made = Drain(
                self._committer, self._door, self._counting, patience=self.options.drain, clock=self._clock
            )
        return self._drain_made

    @property
    def _canary(self) -> Canary:
        if self._canary_made is None:
            self._canary_made = Canary(self.family, self._door, self._settings, self._clock)
        return self._canary_made

    def probe(self) -> None:
        """Raise Unsupported or PermissionDenied with the mend, before anything is changed."""
        probe(self.family, self.options, self._nft, self._door)

    def found(self) -> bool:
        """Tell whether our table is there. Raises KernelError."""
        return self._reader.has_table()

    def empty(self) -> Committed:
        """Return what a kernel holds that has never met us."""
        return Committed()

    def read_back(self) -> Committed:
        """Read what of ours the kernel holds. Raises KernelError."""
        self._drain.forget()
        self._watch.noticed(TABLE)  # whatever it was: the reading will show it
        self._is_stale = self._is_doubtful = self._is_news = self._is_note_due = False
        self._committed = self._reader.read(self._door, self._committed.claims() | self._committed.claimed)
        return self._committed

    def compile(self, committed: Committed, changes: Changes) -> IpvsTransaction:
        """Return the transaction that takes the kernel to ``changes.after``."""
        return compile_changes(committed, changes, self.family, self.options, self._missing)

    def commit(self, transaction: IpvsTransaction) -> Applied | Refused:
        """Send a transaction's phases; what must wait is put off to ``settle``."""
        committed = self._committed
        if transaction.outcome.revision != committed.revision:
            return Refused("the servers were changed after this transaction was compiled: compile it again")
        try:
            self._committer.send(transaction)
        except ChangeRefused as refusal:
            self._is_stale |= refusal.stale
            self._missing |= {refusal.missing} if refusal.missing else frozenset()
            return Refused(str(refusal), refusal.owners)
        except NftRefused as refusal:
            self._is_stale = True
            return Refused(str(refusal))
        committed.advance(transaction.outcome)
        for change in transaction.later:
            committed.elements.pop(change.element, None)
        self._retired_at = None
        self._drain.begin(transaction.later)
        self._is_note_due |= bool(transaction.prepare or transaction.closing)
        self._note()
        return Applied(committed, transaction.limits)

    def settle(self) -> None:
        """Take away what waited for packets in flight, and what has drained. Raises KernelError."""
        try:
            self._drain.settle(self._committed)
        except (ChangeRefused, NftRefused):
            self._is_stale = True
            raise

    def verify(self, committed: Committed, table: RoutingTable) -> Sequence[Difference]:
        """Compare what is committed with a table. A read-back that agrees is known, route by route, from then on."""
        transaction = self.compile(committed, Changes(None, table))
        found = list(differences(transaction))
        if committed.routes is None and not found:
            committed.advance(transaction.outcome)
            self._drain.begin(())
        return found

    def counters(self) -> Counters:
        """Read the counters. Raises KernelError."""
        if self._committed.routes is None:  # nothing is known to be in the kernel
            return Counters({}, {}, {})
        return self._counting.read(self._committed, self._door.dump(self.family))

    def foreign_changes(self) -> bool:
        """Tell whether others have changed the table or a virtual server since the last call. Raises KernelError."""
        self._look()
        news, self._is_news, self._is_stale = self._is_news or self._is_stale, False, False
        return self._canary.noticed(self._committed) or news

    def retire(self) -> bool:
        """Let go of new connections; established ones go on through their virtual servers. Raises KernelError."""
        self._flush_entrances()
        held = self._ours()
        for failure in self._door.apply(list(parting(held))):
            log.warning("%s: new connections may still meet the old endpoints: %s", failure.operation.key, failure.error)
        reals = (real for each in held.values() for real in each.reals if not is_here(real))
        busy = any(real.active or real.inactive for real in reals)
        now = self._clock()
        if self._retired_at is None:
            self._retired_at = now
        return not busy or now >= self._retired_at + self.options.drain

    def remove(self) -> None:
        """Take away everything of ours; sysctls stay as they are. Raises KernelError."""
        if self._reader.has_table():
            self._flush_entrances()
            self._door.apply([Operation.delete_server(key) for key in self._ours()])
            self._nft.apply(f"delete table {WORDS[self.family].table}\n")
        self._settings.remove()
        self._drain_made = None
        self._committed = Committed()

    def close(self) -> None:
        """Let go of the sockets; the rules stay."""
        self._watch.close()
        self._settings.close()
        self._drain_made = self._canary_made = None
        del self._socket, self._reader, self._counting

    def _flush_entrances(self) -> None:
        present = read_rules(NUMBERS[self.family], TABLE).chains
        lines = [f"flush chain {WORDS[self.family].table} {name}\n" for name in layout.SERVER_CHAINS if name in present]
        self._nft.apply("".join(lines))

    def _ours(self) -> dict[ServerKey, Held]:
        """Return the virtual servers that are ours, as the kernel holds them."""
        committed = self._reader.read(self._door, self._committed.claims() | self._committed.claimed)
        codec = Codec(self.family)
        return {
            key: held
            for key, held in self._door.dump(self.family).items()
            if committed.is_ours(key, self.options.marks, codec)
        }

    def _look(self) -> bool:
        """Tell whether others have changed the table since it was read."""
        if self._watch.noticed(TABLE):
            self._is_doubtful = self._is_news = True
        return self._is_doubtful

    def _note(self) -> None:
        """Let a restart know our rules again. Not urgent: without, it writes them once more."""
        if self._is_note_due:
            self._is_note_due = False
            now = self._reader.fingerprint()
            if not self._look():  # else what was read may be somebody else's
                self._reader.note(self._committed.rules, now)
