# SPDX-License-Identifier: Apache-2.0
"""Carries transactions to the kernel: rules through ``nft``, elements as netlink batches, servers through IPVS's door.

A batch of elements is one kernel transaction; operations on servers are not, so what had already been done is taken back
when one is refused. Either way a refusal leaves what was there.
"""

import errno
from collections.abc import Mapping, Sequence
from typing import Final
from typing import Protocol as Shape

from kproxy import _core
from kproxy.dataplanes.ipvs.elements import schemas
from kproxy.dataplanes.ipvs.layout import TABLE
from kproxy.dataplanes.ipvs.settings import HostSettings
from kproxy.dataplanes.ipvs.transaction import ElementChange, IpvsTransaction, ServerChange
from kproxy.kernel.ipvs import Failure, Timeouts
from kproxy.kernel.ipvs_values import Held, HeldReal, Operation, ServerKey
from kproxy.kernel.nfnl import NUMBERS, NetlinkRefused
from kproxy.kernel.nft import Nft
from kproxy.table.errors import KernelError, PermissionDenied, Unsupported
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family

PIECE: Final = 20_000  # elements a netlink batch holds
_NOT_AS_KNOWN: Final = frozenset({errno.EEXIST, errno.ENOENT, errno.ESRCH})


class ServerDoor(Shape):
    """A way to the kernel's IPVS: ``kernel.ipvs.Ipvs``, or one without a kernel."""

    def dump(self, family: Family | None = None) -> Mapping[ServerKey, Held]:
        """Return every virtual server with its real servers."""

    def servers(self, family: Family | None = None) -> Mapping[ServerKey, Held]:
        """Return every virtual server without its real servers."""

    def reals(self, key: ServerKey) -> Sequence[HeldReal]:
        """Return the real servers of one virtual server."""

    def apply(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Carry out operations in order; one that fails does not stop the others."""

    def timeouts(self) -> Timeouts:
        """Return how long idle connections are kept."""

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Change how long idle connections are kept."""

    def probe(self, schedulers: Sequence[str] = ()) -> None:
        """Raise Unsupported or PermissionDenied."""


class ChangeRefused(KernelError):  # noqa: N818 - reads as what it says
    """The kernel refused a part of a transaction; what went before has been taken back.

    ``owners`` are the routes at fault; ``stale``: the kernel does not hold what we think; ``missing``: a scheduler it lacks.
    """

    def __init__(
        self, words: str, owners: frozenset[RouteKey] = frozenset(), *, stale: bool = False, missing: str = ""
    ) -> None:
        super().__init__(words)
        self.owners = owners
        self.stale = stale
        self.missing = missing


class Committer:
    """Sends the phases of transactions."""

    def __init__(
        self, family: Family, nft: Nft, socket: "_core.NftSocket", door: ServerDoor, settings: HostSettings
    ) -> None:
        self._family = family
        self._nft = nft
        self._socket = socket
        self._door = door
        self._settings = settings

    def send(self, transaction: IpvsTransaction) -> None:
        """Send everything that does not have to wait. Raises ChangeRefused or another KernelError with nothing done."""
        if transaction.prepare:
            self._text(transaction.prepare)
        if transaction.delivery:
            self._settings.ensure(self._door)
        self.elements(transaction.ground)
        done = [transaction.ground]
        try:
            self.servers(transaction.servers)
            try:
                self.elements(transaction.dispatch)
                done.append(transaction.dispatch)
                if transaction.closing:
                    self._text(transaction.closing)
            except KernelError:
                self._take_back(transaction.servers)
                raise
        except KernelError:
            for phase in reversed(done):
                self.elements([change.undone for change in reversed(phase)])
            raise

    def _text(self, lines: Sequence[str]) -> None:
        self._nft.apply("".join(f"{line}\n" for line in lines))

    def elements(self, changes: Sequence[ElementChange]) -> None:
        """Commit elements, all or nothing."""
        if not changes:
            return
        batch = _core.ElementBatch(NUMBERS[self._family], TABLE)
        for change in changes:
            name, key, end = change.element
            if change.adds:
                batch.add(name, key, change.data, end)
            else:
                batch.delete(name, key, None, end)
        try:
            if len(changes) <= PIECE:
                self._socket.send(batch)
            else:
                self._socket.send_pieces(batch, PIECE)
        except _core.NetlinkError as error:
            raise self._refusal(changes, error) from error

    def _refusal(self, changes: Sequence[ElementChange], error: "_core.NetlinkError") -> KernelError:
        if error.errno == errno.EPERM:
            return PermissionDenied("nftables elements may not be changed: the process needs CAP_NET_ADMIN")
        stale = error.errno in _NOT_AS_KNOWN or error.committed > 0
        index = error.index
        if index is None or index >= len(changes):
            return ChangeRefused(f"the kernel refused a change of table {TABLE}: {error.strerror}", stale=stale)
        change = changes[index]
        name, key, end = change.element
        subject = f"element {name} {{ {schemas(self._family)[name].key_text(key, end)} }}"
        owners = frozenset([change.owner]) if change.owner and not stale else frozenset[RouteKey]()
        return ChangeRefused(f"{subject} was refused: {error.strerror}", owners, stale=stale)

    def servers(self, changes: Sequence[ServerChange]) -> None:
        """Carry out operations on servers, all or nothing. Raises ChangeRefused."""
        failures = self._door.apply([change.operation for change in changes]) if changes else ()
        if not failures:
            return
        failed = {failure.index for failure in failures}
        self._take_back([change for index, change in enumerate(changes) if index not in failed])
        missing = next((_scheduler(each) for each in failures if isinstance(each.error, Unsupported)), "")
        stale = any(isinstance(each.error, NetlinkRefused) and each.error.errno in _NOT_AS_KNOWN for each in failures)
        owners = {changes[index].owner for index in failed}
        blamed = frozenset(owner for owner in owners if owner) if not stale and not missing else frozenset[RouteKey]()
        raise ChangeRefused(str(failures[0].error), blamed, stale=stale, missing=missing)

    def _take_back(self, changes: Sequence[ServerChange]) -> None:
        self._door.apply([change.undo for change in reversed(changes)])


def _scheduler(failure: Failure) -> str:
    server = failure.operation.server
    return server.scheduler if server is not None else ""
