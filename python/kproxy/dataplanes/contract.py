# SPDX-License-Identifier: Apache-2.0
"""What every dataplane does.

A dataplane serves one mode in one family. It compiles routes for one kernel interface and knows nothing of Kubernetes. Its
``Committed`` is what of ours the kernel holds; it advances only when the kernel has said yes, and it belongs to the
dataplane: the loop only carries it from one call to the next.

Every change is two-phase, because a kernel transaction is atomic for the store but not for a packet that is already inside
a chain: what a packet may come to reach is committed before anything points to it, and what a packet may still reach leaves
in a later phase. ``compile`` yields the phases in order; ``commit`` sends them, ``settle`` sends what had to wait.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import msgspec

from kproxy.table.route import RouteKey
from kproxy.table.routing_table import Changes, RoutingTable
from kproxy.table.terms import Family, Mode

Committed: TypeAlias = Any  # each dataplane's own value


class Duty(msgspec.Struct, frozen=True, order=True):
    """What a dataplane is there for: one mode in one family. It names a dataplane to whoever watches it."""

    mode: Mode
    family: Family

    def __str__(self) -> str:
        """Return ``nftables IPv4``."""
        return f"{self.mode} {self.family}"


class Transaction(Protocol):
    """Changes to the kernel as a value. ``str()`` is text that the mode's own tool accepts, all phases in order."""

    @property
    def operations(self) -> int:
        """How many kernel operations it holds; 0: nothing to do."""

    def __str__(self) -> str:
        """Return the printed form: ``nft``, ``iptables-restore`` or ``ipvsadm`` text."""


class Applied(msgspec.Struct, frozen=True):
    """The kernel took the transaction. ``limits`` are sentences on what of it this mode cannot express, by route."""

    committed: Committed
    limits: Mapping[RouteKey, str] = {}


class Refused(msgspec.Struct, frozen=True):
    """The kernel did not take it, and holds what it held.

    ``blame`` names the routes at fault as far as they are known; the loop sends the others without them. ``retry`` says that
    the same transaction may succeed later.
    """

    words: str
    blame: frozenset[RouteKey] = frozenset()
    retry: bool = True


class Traffic(msgspec.Struct, frozen=True):
    """What one frontend or endpoint has carried. None: this mode does not count it."""

    connections: int = 0
    packets: int | None = None
    bytes: int | None = None


class Lock(msgspec.Struct, frozen=True):
    """What a lock that others share has cost since the dataplane was made: seconds waited, and how often in vain."""

    waited: float = 0.0
    timeouts: int = 0


class Counters(msgspec.Struct, frozen=True):
    """Monotonic over endpoint moves and daemon restarts.

    ``frontends`` by route and the frontend's text; ``endpoints`` by route and the endpoint's key; ``refused`` counts packets
    that met reject or drop, by a short reason word. ``lock`` is that of a mode whose kernel tables have one.
    """

    frontends: Mapping[tuple[RouteKey, str], Traffic]
    endpoints: Mapping[tuple[RouteKey, str], Traffic]
    refused: Mapping[str, int]
    lock: Lock = Lock()


class Difference(msgspec.Struct, frozen=True):
    """One thing in the kernel that is not as the table says; ``str()``-able for logs."""

    what: str  # for a person: "frontend 10.96.0.1:80/TCP: endpoint 10.1.0.7:8080 is missing"
    key: RouteKey | None = None


class Durations(msgspec.Struct, frozen=True):
    """Durations by size: how many up to each of ``bounds`` (seconds, ascending) and beyond the last; ``seconds`` of all."""

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    seconds: float = 0.0


class RelayReport(msgspec.Struct, frozen=True):
    """What a relay has done so far. All but ``active`` and ``clients`` are monotonic while it lives.

    ``closed`` counts connections by how they ended, ``refused`` clients it turned away and ``failed`` dials by why;
    ``retries``: endpoints that took the place of one that failed; ``ejections``: how often one was left alone for failing;
    ``clients`` are known for their affinity.
    """

    active: int = 0
    clients: int = 0
    closed: Mapping[str, int] = {}
    refused: Mapping[str, int] = {}
    failed: Mapping[str, int] = {}
    retries: int = 0
    ejections: int = 0
    dial: Durations = Durations()
    first_byte: Durations = Durations()


class Relay(Protocol):
    """What carries connections inside of this process: they end with it. The dataplanes of all families share one."""

    def hand_over(self, channel: int) -> None:
        """Send its sockets over a Unix socket to the process that will relieve this one. They stay in use here."""

    def drain(self, seconds: float) -> None:
        """Take no new clients; those there are have so many seconds."""

    def connections(self) -> int:
        """Count the clients there are."""

    def fault(self) -> str | None:
        """Return what a part of it that has died said last; None: all is well."""

    def report(self) -> RelayReport:
        """Tell what it has done. May be called from any thread."""


@runtime_checkable
class Relaying(Protocol):
    """A dataplane that has a relay."""

    relay: Relay


class Dataplane(Protocol):
    """One mode in one family. All methods block for as long as the kernel takes and may run in a worker thread.

    Calls never overlap. Errors that are not the transaction's fault are KernelErrors. Making one changes nothing and asks
    for no tool: what is missing, ``probe`` says.
    """

    mode: Mode
    family: Family

    def probe(self) -> None:
        """Raise Unsupported or PermissionDenied with the mend, before anything is changed."""

    def found(self) -> bool:
        """Tell whether the kernel holds anything that ``remove`` would take out, be it of an earlier process. Cheap."""

    def empty(self) -> Committed:
        """Return what a kernel holds that has never met us."""

    def read_back(self) -> Committed:
        """Read what of ours the kernel holds: nothing, at first."""

    def compile(self, committed: Committed, changes: Changes) -> Transaction:
        """Work out how the kernel goes from ``committed`` to ``changes.after``. Pure; other families are ignored."""

    def commit(self, transaction: Any) -> Applied | Refused:  # noqa: ANN401 - what its own compile made, no other
        """Send the transaction's phases. Between them as much time passes as packets in flight need."""

    def settle(self) -> None:
        """Send deletions that had to wait for packets in flight, if any are due."""

    def verify(self, committed: Committed, table: RoutingTable) -> Sequence[Difference]:
        """Compare what is committed with a table, frontend by frontend; numbers the dataplane gave itself do not count."""

    def counters(self) -> Counters:
        """Read the counters."""

    def foreign_changes(self) -> bool:
        """Tell whether somebody else has changed or destroyed something of ours since the last call. Cheap."""

    def retire(self) -> bool:
        """Take no new connections any more; what the established ones need stays. True once none depends on us.

        Asked again and again until it is True; ``remove`` follows. A dataplane that has retired may be wanted back: then it
        is read back and committed to, as at a start.
        """

    def remove(self) -> None:
        """Take everything of ours out of the kernel."""

    def close(self) -> None:
        """Give back sockets and descriptors; the kernel keeps its rules."""
