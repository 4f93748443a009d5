# SPDX-License-Identifier: Apache-2.0
"""The iptables dataplane of one family: the contract, put together from its parts."""

import contextlib
import functools
import logging
from collections.abc import Sequence
from typing import Final

from kproxy.dataplanes.contract import Applied, Counters, Difference, Refused
from kproxy.dataplanes.iptables import layout, takeout
from kproxy.dataplanes.iptables.commit import Committer, TextRefused
from kproxy.dataplanes.iptables.committed import Committed, Found
from kproxy.dataplanes.iptables.compile import compile_changes
from kproxy.dataplanes.iptables.counters import Totals, carry
from kproxy.dataplanes.iptables.doors import Door, door_of
from kproxy.dataplanes.iptables.kind import kind_here
from kproxy.dataplanes.iptables.layout import Options
from kproxy.dataplanes.iptables.localnet import Localnet
from kproxy.dataplanes.iptables.probe import probe
from kproxy.dataplanes.iptables.readback import read_back
from kproxy.dataplanes.iptables.transaction import IptablesTransaction
from kproxy.dataplanes.iptables.verify import differences
from kproxy.kernel import ipset
from kproxy.kernel.sysctl import Sysctls
from kproxy.kernel.xtables import Kind, Xtables
from kproxy.table.errors import KernelError, PermissionDenied
from kproxy.table.routing_table import Changes, RoutingTable
from kproxy.table.terms import Family, Mode

LIBERAL: Final = "net.netfilter.nf_conntrack_tcp_be_liberal"
log: Final = logging.getLogger(__name__)


class IptablesDataplane:
    """Serves one family in mode iptables, in the network namespace of the thread that makes it.

    ``kind`` is which iptables; None: the one that this machine uses. ``sets``: whether there is ipset; None: looked for.
    ``masquerade_bit`` is the bit of the packet mark that is ours. ``drop_invalid``: packets that cannot be tracked are not
    forwarded; None: unless the kernel is told to be liberal about them.
    """

    mode = Mode.IPTABLES

    def __init__(
        self,
        family: Family,
        *,
        masquerade_bit: int = layout.DEFAULT_MASQUERADE_BIT,
        drop_invalid: bool | None = None,
        kind: Kind | None = None,
        sets: bool | None = None,
    ) -> None:
        self.family = family
        self._bit, self._drop_invalid, self._kind, self._sets = masquerade_bit, drop_invalid, kind, sets
        self._totals = Totals()
        self._localnet = Localnet(family)
        self._committed = Committed()
        self._is_stale = False  # a transaction went in by a part only

    # What follows asks the machine, so it waits until it is needed.

    @functools.cached_property
    def xtables(self) -> Xtables:
        """The iptables that serves."""
        return Xtables(self.family, self._kind or kind_here())

    @functools.cached_property
    def options(self) -> Options:
        """What was chosen, and what the machine has."""
        is_liberal = bool(Sysctls().read(LIBERAL))
        return Options(
            self._bit,
            drop_invalid=not is_liberal if self._drop_invalid is None else self._drop_invalid,
            sets=ipset.works() if self._sets is None else self._sets,
        )

    @functools.cached_property
    def _door(self) -> Door:
        return door_of(self.xtables)

    @functools.cached_property
    def _committer(self) -> Committer:
        return Committer(self.xtables, self._door.ended)

    def probe(self) -> None:
        """Raise Unsupported or PermissionDenied with the mend, before anything is changed."""
        probe(self.xtables, self.options)
        log.info("%s serves %s, %s ipset", self.xtables, self.family, "with" if self.options.sets else "without")

    def read_back(self) -> Committed:
        """Read what of ours the kernel holds. Raises KernelError."""
        self._committer.forget()
        self._door.reading()
        self._is_stale = False
        self._committed = Committed(read_back(self.xtables, sets=self.options.sets))
        return self._committed

    def empty(self) -> Committed:
        """Return what a kernel holds that has never met us."""
        return Committed(Found())

    def compile(self, committed: Committed, changes: Changes) -> IptablesTransaction:
        """Return the transaction that takes the kernel to ``changes.after``."""
        return compile_changes(committed, changes, self.options, self.family)

    def commit(self, transaction: IptablesTransaction) -> Applied | Refused:
        """Send a transaction's sections; what must wait is put off to ``settle``."""
        committed, outcome = self._committed, transaction.outcome
        if outcome.revision != committed.revision:
            return Refused("the rules were changed after this transaction was compiled: compile it again")
        if transaction.operations:
            counted = self._door.counted(transaction.before) if transaction.before else {}
            carried = carry(transaction.before, counted, transaction.after)
            try:
                self._localnet.open_for(outcome.state.setting.facts)
                self._committer.send(transaction, carried.begun)
            except TextRefused as refusal:
                self._is_stale |= refusal.is_partial
                return Refused(str(refusal), frozenset([refusal.key]) if refusal.key else frozenset())
            except KernelError:
                self._is_stale = True
                raise
            self._totals.keep(carried.left)
            self._door.written()
        committed.advance(outcome)
        return Applied(committed, transaction.limits)

    def settle(self) -> None:
        """Delete chains and ipsets that waited for packets in flight. Raises KernelError."""
        if self._committer.waiting:
            self._committer.settle()
            self._door.written()

    def verify(self, committed: Committed, table: RoutingTable) -> Sequence[Difference]:
        """Compare what is committed with a table."""
        return differences(committed, table, self.options, self.family)

    def counters(self) -> Counters:
        """Read the counters. Raises KernelError."""
        counted = self._door.counted() if self._committed.state else {}
        return self._totals.of(self._committed, counted, self._committer.lock)

    def foreign_changes(self) -> bool:
        """Tell whether others have changed our rules since the last call, or a transaction went in by a part only."""
        news, self._is_stale = self._is_stale, False
        return self._door.changed() or news

    def retire(self) -> bool:
        """Take no new connections any more. The kernel's own tracking carries those that are established.

        It does so as long as some nat chain is there: the built-in ones stay.
        """
        takeout.unlink(self.xtables, self._door.ended)
        return True

    def found(self) -> bool:
        """Tell whether anything of ours is in the kernel, in whichever kind of iptables. Raises KernelError."""
        for kind in Kind:
            with contextlib.closing(door_of(Xtables(self.family, kind))) as door, contextlib.suppress(PermissionDenied):
                if door.counted():  # who may not look has put nothing there either
                    return True
        return False

    def remove(self) -> None:
        """Delete our jumps, chains and ipsets. Raises KernelError."""
        self._committer.forget()
        for xtables in Xtables.every(self.family):
            with contextlib.nullcontext() if xtables.kind is self.xtables.kind else contextlib.suppress(PermissionDenied):
                takeout.unlink(xtables, self._door.ended)
                takeout.delete(xtables, self._door.ended)
        takeout.destroy_sets(self.family)
        self._localnet.restore()
        self._committed = Committed()
        self._door.written()

    def close(self) -> None:
        """Let go of the sockets; the rules stay."""
        if "_door" in self.__dict__:
            self._door.close()
