# SPDX-License-Identifier: Apache-2.0
"""Carries transactions to the kernel: structure through the ``nft`` command, elements as netlink batches.

A batch is one kernel transaction. If a later batch of a load is refused, those before are taken back, so that a refusal
always leaves what was there. Deletions of what a packet in flight may still reach wait for the next commit or ``settle``.
"""

import errno
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from kproxy import _core
from kproxy.dataplanes.nftables.transaction import ADD, Batch, NftTransaction, Target
from kproxy.kernel.nfnl import NUMBERS
from kproxy.kernel.nft import Nft, NftRefused
from kproxy.table.errors import KernelError, PermissionDenied
from kproxy.table.route import RouteKey
from kproxy.table.terms import Family

FLIGHT_TIME: Final = 0.001  # seconds after which no packet is still on its way through our chains


class BatchRefused(KernelError):  # noqa: N818 - reads as what it says
    """The kernel refused a batch.

    ``owner`` is the route whose element it was; ``stale`` says that the table is not as we know it.
    """

    def __init__(self, words: str, owner: RouteKey | None = None, *, stale: bool = False) -> None:
        super().__init__(words)
        self.owner = owner
        self.stale = stale


class ElementDoor(Protocol):
    """A way for elements into the kernel. ``Committer`` knows which phases there are, a door only sends."""

    def send(self, target: Target, batch: Batch) -> None:
        """Commit a batch, all or nothing. Raises BatchRefused or another KernelError."""


class TextDoor:
    """Elements as text through the ``nft`` command: slow, but there wherever nft is."""

    def __init__(self, nft: Nft) -> None:
        self._nft = nft

    def send(self, target: Target, batch: Batch) -> None:
        """Commit a batch."""
        lines = list(target.text(batch))
        try:
            self._nft.apply("\n".join(lines) + "\n")
        except NftRefused as refusal:
            raise BatchRefused(str(refusal), stale="No such file" in str(refusal)) from refusal


class NetlinkDoor:
    """Elements as raw netlink batches on a socket that stays open."""

    def __init__(self, socket: "_core.NftSocket", family: Family) -> None:
        self._number = NUMBERS[family]
        self._socket = socket

    def send(self, target: Target, batch: Batch) -> None:
        """Commit a batch."""
        elements = _core.ElementBatch(self._number, target.name)
        for run in batch.runs:
            if run.verb == ADD and not run.ends:
                data = bytes(run.data) or None
                elements.add_many(run.name, bytes(run.keys), run.width, data, run.data_width)
            elif run.verb == ADD:
                for row in run.rows():
                    elements.add(run.name, row.key, row.data, row.end)
            else:
                for row in run.rows():
                    elements.delete(run.name, row.key, None, row.end)
        try:
            self._socket.send(elements)
        except _core.NetlinkError as error:
            raise _refusal(target, batch, error) from error


def _refusal(target: Target, batch: Batch, error: "_core.NetlinkError") -> KernelError:
    if error.errno == errno.EPERM:
        return PermissionDenied("nftables elements may not be changed: the process needs CAP_NET_ADMIN")
    place = batch.locate(error.index) if error.index is not None else None
    if place is None:
        return BatchRefused(f"the kernel refused a change of table {target.table}: {error.strerror}")
    run, index = place
    schema = target.schemas[run.name]
    row, owner = run.row(index), run.owner(index)
    element = f"{run.name} {{ {schema.key_text(row.key, row.end)} }}"
    subject = f"{owner}: element {element}" if owner else f"element {element}"
    match error.errno:
        case errno.EEXIST:
            return BatchRefused(f"{subject} is there already, put there by somebody else", owner, stale=True)
        case errno.ENOENT:
            return BatchRefused(f"{subject}: the set or the element is gone, taken by somebody else", owner, stale=True)
        case errno.ENFILE | errno.ENOSPC:
            return BatchRefused(f"{subject}: the set is full", owner)
    return BatchRefused(f"{subject} was refused: {error.strerror}", owner)


class Committer:
    """Sends transactions and what they leave for later."""

    def __init__(self, nft: Nft, door: ElementDoor) -> None:
        self._nft = nft
        self._door = door
        self._later: tuple[Target, Batch] | None = None
        self._sent = 0.0

    @property
    def waiting(self) -> bool:
        """Tell whether deletions wait for packets in flight."""
        return self._later is not None

    def structure(self, lines: Sequence[str]) -> None:
        """Commit structure. Raises KernelError."""
        self._nft.apply("".join(f"{line}\n" for line in lines))

    def elements(self, transaction: NftTransaction, before_deletion: Callable[[Batch], None]) -> None:
        """Commit the batches of a transaction, with the deletions that waited. Raises KernelError with nothing done."""
        done: list[Batch] = []
        try:
            for batch in transaction.batches:
                waited = self._later
                if waited:
                    self._pause()
                    before_deletion(waited[1])
                self._door.send(transaction.target, Batch([*waited[1].runs, *batch.runs]) if waited else batch)
                self._later = None
                done.append(batch)
        except KernelError:
            self.take_back(transaction.target, done)
            raise
        self._sent = time.monotonic()

    def take_back(self, target: Target, batches: Sequence[Batch]) -> None:
        """Undo batches that have gone in. Raises KernelError."""
        for batch in reversed(batches):
            self._door.send(target, batch.undone())

    def put_off(self, transaction: NftTransaction) -> None:
        """Keep a transaction's deletions until nothing in flight can reach what they delete."""
        if transaction.later.runs:
            before = self._later[1].runs if self._later else []
            self._later = (transaction.target, Batch([*before, *transaction.later.runs]))

    def settle(self, before_deletion: Callable[[Batch], None]) -> None:
        """Send the deletions that wait. Raises KernelError; they are not tried again then."""
        waited, self._later = self._later, None
        if waited:
            self._pause()
            before_deletion(waited[1])
            self._door.send(*waited)

    def forget(self) -> None:
        """Drop the deletions that wait: the table has been read anew."""
        self._later = None

    def _pause(self) -> None:
        rest = self._sent + FLIGHT_TIME - time.monotonic()
        if rest > 0:
            time.sleep(rest)
