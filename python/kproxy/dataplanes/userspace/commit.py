# SPDX-License-Identifier: Apache-2.0
"""Carries transactions to the relay and to the kernel, phase by phase.

The relay comes first: it must know a Service before anybody is sent there. If the kernel then refuses, everything that went
before is taken back, so that a refusal always leaves what was there. What a packet in flight may still reach waits for the
next commit or ``settle``.
"""

import contextlib
import errno
import time
from collections.abc import Mapping, Sequence
from typing import Final

from kproxy import _core
from kproxy.dataplanes.userspace.relay import RelayHandle
from kproxy.dataplanes.userspace.services import Service
from kproxy.dataplanes.userspace.transaction import ADD, Batch, Operation, RelayTransaction, Target, Telling
from kproxy.kernel.nfnl import NUMBERS
from kproxy.kernel.nft import Nft
from kproxy.kernel.policy_routes import PolicyRoutes
from kproxy.table.errors import KernelError, PermissionDenied
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family

FLIGHT_TIME: Final = 0.001  # seconds after which no packet is still on its way through our chains


class BatchRefused(KernelError):  # noqa: N818 - reads as what it says
    """The kernel refused a batch. ``owner`` is the route whose element it was; ``stale``: the table is not as we know it."""

    def __init__(self, words: str, owner: RouteKey | None = None, *, stale: bool = False) -> None:
        super().__init__(words)
        self.owner = owner
        self.stale = stale


class Committer:
    """Sends transactions and what they leave for later."""

    def __init__(
        self, family: Family, nft: Nft, socket: "_core.NftSocket", relay: RelayHandle, routes: PolicyRoutes | None
    ) -> None:
        self._family, self._number = family, NUMBERS[family]
        self._nft, self._socket, self._relay, self._routes = nft, socket, relay, routes
        self._later: list[tuple[Target, Batch, Telling]] = []
        self._sent = 0.0

    def send(self, transaction: RelayTransaction) -> None:
        """Commit all phases but the last. Raises KernelError with everything as it was."""
        self.settle()
        now = self._relay.held(self._family)
        before = {key: now[key] for key in transaction.fill.upserts if key in now}
        done: list[Batch] = []
        try:
            self._relay.tell(transaction.fill, self._family)
            self.structure(transaction.prepare)
            for batch in transaction.batches:
                self._elements(transaction.target, batch)
                done.append(batch)
            if transaction.routing and self._routes:
                self._routes.ensure()
            self.structure(transaction.closing)
        except KernelError:
            for batch in reversed(done):
                self._elements(transaction.target, [one.undone() for one in reversed(batch)])
            if self._relay.is_running:
                self._relay.undo(transaction.fill, before, self._family)
            raise
        self._sent = time.monotonic()
        if transaction.later or transaction.relieve:
            self._later.append((transaction.target, transaction.later, transaction.relieve))

    def structure(self, lines: Sequence[str]) -> None:
        """Commit structure. Raises KernelError."""
        self._nft.apply("".join(f"{line}\n" for line in lines))

    def settle(self) -> None:
        """Send what had to wait. Raises KernelError; it is not tried again then."""
        waited, self._later = self._later, []
        if not waited:
            return
        rest = self._sent + FLIGHT_TIME - time.monotonic()
        if rest > 0:
            time.sleep(rest)
        for target, batch, telling in waited:
            self._elements(target, batch)
            self._relay.tell(telling, self._family)

    def finish(self) -> None:
        """Send what waits as far as it can still be sent: the table is about to be read, or to go."""
        with contextlib.suppress(KernelError):
            self.settle()

    def foreseen(self) -> Mapping[str, Service]:
        """Return what the relay will hold once nothing waits."""
        if not self._later:
            return self._relay.held(self._family)
        held = dict(self._relay.held(self._family))
        for _, _, telling in self._later:
            held |= telling.upserts
            for key in telling.removes:
                held.pop(key, None)
        return held

    def _elements(self, target: Target, batch: Batch) -> None:
        if not batch:
            return
        elements = _core.ElementBatch(self._number, target.name)
        for one in batch:
            name, key, end = one.element
            if one.verb == ADD:
                elements.add(name, key, one.data, end)
            else:
                elements.delete(name, key, None, end)
        try:
            self._socket.send(elements)
        except _core.NetlinkError as error:
            raise _refusal(target, batch, error) from error


def _refusal(target: Target, batch: Batch, error: "_core.NetlinkError") -> KernelError:
    if error.errno == errno.EPERM:
        return PermissionDenied("nftables elements may not be changed: the process needs CAP_NET_ADMIN")
    one: Operation | None = batch[error.index] if error.index is not None and error.index < len(batch) else None
    if one is None:
        return BatchRefused(f"the kernel refused a change of table {target.table}: {error.strerror}")
    name, key, end = one.element
    element = f"element {name} {{ {target.schemas[name].key_text(key, end)} }}"
    subject = f"{one.owner}: {element}" if one.owner else element
    match error.errno:
        case errno.EEXIST:
            return BatchRefused(f"{subject} is there already, put there by somebody else", one.owner, stale=True)
        case errno.ENOENT:
            return BatchRefused(f"{subject}: the set or the element is gone, taken by somebody else", one.owner, stale=True)
    return BatchRefused(f"{subject} was refused: {error.strerror}", one.owner)
