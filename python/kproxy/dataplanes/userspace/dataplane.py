# SPDX-License-Identifier: Apache-2.0
"""The userspace dataplane of one family: the contract, put together from its parts."""

import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from kproxy import _core
from kproxy.dataplanes.contract import Applied, Counters, Difference, Refused
from kproxy.dataplanes.userspace import layout
from kproxy.dataplanes.userspace.commit import BatchRefused, Committer
from kproxy.dataplanes.userspace.committed import Committed
from kproxy.dataplanes.userspace.compile import compile_changes
from kproxy.dataplanes.userspace.counters import read_counters
from kproxy.dataplanes.userspace.elements import schemas, shared_elements
from kproxy.dataplanes.userspace.judging import facts_of
from kproxy.dataplanes.userspace.layout import Options
from kproxy.dataplanes.userspace.probe import carried, probe
from kproxy.dataplanes.userspace.readback import Reader
from kproxy.dataplanes.userspace.relay import RelayHandle
from kproxy.dataplanes.userspace.transaction import RelayTransaction, Target, Telling
from kproxy.dataplanes.userspace.verify import differences
from kproxy.kernel.nfnl import NUMBERS
from kproxy.kernel.nft import Nft, NftRefused
from kproxy.kernel.nft_elements import Codec
from kproxy.kernel.nft_watch import Watch
from kproxy.kernel.policy_routes import PolicyRoute, PolicyRoutes
from kproxy.table.routing_table import Changes, RoutingTable
from kproxy.table.terms import Family, Mode


class UserspaceDataplane:
    """Serves one family through a relay, in the network namespace of the thread that makes it.

    The relay is shared with the other family's dataplane; it ends when the last of them is closed.
    """

    mode = Mode.USERSPACE

    def __init__(self, family: Family, relay: RelayHandle) -> None:
        self.family = family
        self.options: Options = relay.options
        self.relay = relay
        relay.acquire()
        self._table = self.options.table
        self._target = Target(f"{layout.WORDS[family].ip} {self._table}", self._table, schemas(family))
        self._nft = Nft(noticed=lambda process: Watch.ended(NUMBERS[family], process))
        self._socket = _core.NftSocket()
        Watch.own(self._socket.portid)
        self._watch = Watch(NUMBERS[family])
        self._reader = Reader(family, self._table, self._target.schemas, self._socket)
        self._routes = self._open_routes()
        self._committer = Committer(family, self._nft, self._socket, relay, self._routes)
        self._committed = Committed()
        self._is_stale = False  # the kernel has refused what it would not refuse if it held what we think
        self._is_doubtful = False  # others have been at the table since it was read
        self._is_news = False  # and that has not been told yet
        self._retires_until: float | None = None

    def _look_at_bridges(self) -> None:
        """See what the kernel does with a bridge's frames by now: the rules depend on it."""
        if self.options.serves_all:
            self.options = msgspec.structs.replace(self.options, carried=carried(self.family))

    def _open_routes(self) -> PolicyRoutes | None:
        if not self.options.serves_all:
            return None  # loopback addresses end here anyway
        return PolicyRoutes(PolicyRoute(self.family, self.options.take, layout.ROUTE_TABLE, layout.RULE_PREFERENCE))

    def probe(self) -> None:
        """Raise Unsupported or PermissionDenied with the mend, before anything is changed."""
        probe(self.family, self.options, self._nft)

    def found(self) -> bool:
        """Tell whether our table or our policy route is there. Raises KernelError."""
        return self._reader.exists() or (self._routes is not None and self._routes.works())

    def empty(self) -> Committed:
        """Return what a kernel holds that has no table of ours."""
        return Committed()

    def read_back(self) -> Committed:
        """Read what of ours the kernel holds. Raises KernelError."""
        self._committer.finish()
        self._watch.noticed(self._table)  # whatever it was: the reading will show it
        self._is_stale = self._is_doubtful = self._is_news = False
        self._committed = self._reader.read()
        self._look_at_bridges()
        if self._routes is not None:
            self._routes.rules_changed()
            self._committed.is_routed = self._routes.works()
        return self._committed

    def compile(self, committed: Committed, changes: Changes) -> RelayTransaction:
        """Return the transaction that takes kernel and relay to ``changes.after``."""
        held = self._committer.foreseen()  # what waits is sent before anything else
        return compile_changes(committed, held, changes, self.family, self.options, self._target)

    def commit(self, transaction: RelayTransaction) -> Applied | Refused:
        """Send a transaction's phases; what must wait is put off to ``settle``."""
        committed = self._committed
        if transaction.outcome.revision != committed.revision:
            return Refused("the table was changed after this transaction was compiled: compile it again")
        try:
            self._committer.send(transaction)
        except BatchRefused as refusal:
            self._is_stale |= refusal.stale
            return Refused(str(refusal), frozenset([refusal.owner]) if refusal.owner and not refusal.stale else frozenset())
        except NftRefused as refusal:
            self._is_stale = True
            return Refused(str(refusal))
        committed.advance(transaction.outcome)
        self._retires_until = None
        if transaction.prepare or transaction.closing:
            self._note_fingerprint()
        return Applied(committed, transaction.limits)

    def settle(self) -> None:
        """Send what waited for packets in flight. Raises KernelError."""
        try:
            self._committer.settle()
            self.relay.follow_up()
        except BatchRefused:
            self._is_stale = True
            raise

    def verify(self, committed: Committed, table: RoutingTable) -> Sequence[Difference]:
        """Compare what is committed with a table. A read-back that agrees is known, route by route, from then on."""
        held = self._committer.foreseen()
        found = list(differences(committed, held, table, self.family, self.options, self._target))
        if committed.routes is None and not found:
            routes = list(table.routes(self.family))
            codec = Codec(self.family)
            claims = Counter(element for route in routes for element in shared_elements(route, codec, self.options))
            committed.adopt(routes, facts_of(table.node, self.family, self.options), dict(claims))
        return found

    def counters(self) -> Counters:
        """Read the counters. Raises KernelError."""
        return read_counters(self._committed.known.values(), self.relay, self._reader.refusals(), self.options)

    def foreign_changes(self) -> bool:
        """Tell whether others have changed table, policy route or sysctl since the last call, or we have run into it."""
        self._look()
        self._is_news |= self.options.serves_all and carried(self.family) != self.options.carried
        if self._routes is not None and self._routes.rules_changed() and not self._routes.works():
            self._is_news = True
        news, self._is_news, self._is_stale = self._is_news or self._is_stale, False, False
        return news

    def retire(self) -> bool:
        """Take no new connections; those there are keep the rules that lead them to the relay. Raises KernelError.

        True once the relay has none left, or when they have had their time.
        """
        self._committer.finish()
        now = time.monotonic()
        if self._retires_until is None:
            if self._reader.exists():
                self._nft.apply(f"flush chain {self._target.table} {layout.ENTRANCE}\n")
            self._retires_until = now + self.options.retirement
        return self.relay.connections() == 0 or now >= self._retires_until

    def remove(self) -> None:
        """Delete our table, our policy route and our Services. Raises KernelError."""
        self._committer.finish()
        if self._reader.exists():
            self._nft.apply(f"delete table {self._target.table}\n")
        if self._routes is not None:
            self._routes.remove()
        if self.relay.is_running:
            self.relay.tell(Telling(removes=frozenset(self.relay.held(self.family))), self.family)
        self._committed = Committed()
        self._retires_until = None

    def _look(self) -> bool:
        """Tell whether others have changed the table since it was read."""
        if self._watch.noticed(self._table):
            self._is_doubtful = self._is_news = True
        return self._is_doubtful

    def _note_fingerprint(self) -> None:
        """Let a restart know our rules again. Not urgent: without, it writes them once more."""
        now = self._reader.fingerprint()
        if not self._look():  # else what was read may be somebody else's
            self._reader.note_fingerprint(now)

    def close(self) -> None:
        """Let go of the sockets and of the relay; the rules stay."""
        self._watch.close()
        if self._routes is not None:
            self._routes.close()
        self.relay.release()
        del self._socket, self._reader, self._committer
