# SPDX-License-Identifier: Apache-2.0
"""The door to nftables' elements by netlink, and to the news of what others change.

``_core`` speaks to the kernel; this module gives its refusals their place in the error tree. An ``ElementBatch`` is one
kernel transaction on the elements of one table: all or nothing, in force when ``send`` returns, 10 µs for a handful of
elements and 4 µs each for many. Keys and data are raw register bytes: network order (what nftables calls host order, such as
``numgen`` and ``meta``, in the machine's), each field of a concatenation padded to four bytes.

What is not an element (tables, maps, chains, rules) goes through ``kernel.nft``.
"""

import errno
import os
from collections.abc import Sequence
from typing import Final, TypeAlias

from kproxy._core import ElementBatch, NetlinkError, NftMonitor, NftSocket
from kproxy.table.errors import Busy, KernelError, PermissionDenied, Unsupported
from kproxy.table.terms import Family

__all__ = ["FAMILIES", "PIECE", "ElementBatch", "Elements", "Monitor", "NetlinkRefused", "ReadElement", "refused"]

FAMILIES: Final = {Family.IPV4: 2, Family.IPV6: 10}  # nftables' numbers of the table families ip and ip6

PIECE: Final = 2000
"""Operations a piece of a big load has. One transaction of all takes longer than its pieces together, and with somebody
listening to nftables (our own Monitor is enough) its time grows with its square."""

ReadElement: TypeAlias = tuple[bytes, bytes | None, bytes | None, int | None, int | None, int, int]
"""``(key, key_end, data, packets, bytes, timeout in ms, expires in ms)``; what an element does not have is None or 0."""

_BUSY: Final = {errno.EBUSY, errno.EINTR, errno.EAGAIN, errno.ERESTART}
_DENIED: Final = {errno.EPERM, errno.EACCES}
_LACKING: Final = {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP}


class NetlinkRefused(KernelError):  # noqa: N818 - reads as what it says
    """The kernel did not take a request.

    ``errno`` is its error number (EEXIST: another value is there; ENOENT: nothing is there; ENFILE and ENOSPC: the set is
    full); ``index`` is the operation at fault, counted from 0, where the kernel names one; ``committed`` is how many
    operations of earlier pieces are in force.
    """

    def __init__(self, words: str, error: int, index: int | None = None, committed: int = 0) -> None:
        super().__init__(words)
        self.errno = error
        self.index = index
        self.committed = committed


def refused(error: NetlinkError) -> KernelError:
    """Return the error tree's name for what the kernel said."""
    number = error.errno or errno.EIO
    words = error.strerror or os.strerror(number)
    if number in _DENIED:
        return PermissionDenied(f"{words}: the process needs CAP_NET_ADMIN")
    if number in _BUSY:
        return Busy(words)
    if number in _LACKING:
        return Unsupported(f"{words}: the kernel lacks netfilter netlink (nfnetlink)")
    code = errno.errorcode.get(number, str(number))
    place = "" if error.index is None else f", operation {error.index}"
    return NetlinkRefused(f"{words} ({code}{place})", number, error.index, error.committed)


class Elements:
    """Reads and changes elements, in the network namespace of the thread that makes it. Safe to share between threads.

    Every method raises KernelErrors: PermissionDenied, Busy, Unsupported, else NetlinkRefused.
    """

    def __init__(self, family: Family) -> None:
        self._number = FAMILIES[family]
        try:
            self._socket = NftSocket()
        except NetlinkError as error:
            raise refused(error) from error
        self.portid = self._socket.portid  # by which a Monitor names our changes

    def batch(self, table: str) -> ElementBatch:
        """Return an empty batch for one table of this family."""
        return ElementBatch(self._number, table)

    def send(self, batch: ElementBatch) -> None:
        """Commit a batch: all of it, or none and an error."""
        try:
            self._socket.send(batch)
        except NetlinkError as error:
            raise refused(error) from error

    def send_pieces(self, batch: ElementBatch, piece: int = PIECE) -> int:
        """Commit a batch in order, at most ``piece`` operations at a time. Return how many pieces that took."""
        try:
            return self._socket.send_pieces(batch, piece)
        except NetlinkError as error:
            raise refused(error) from error

    def generation(self) -> int:
        """Return the number that every commit to nftables, by anybody, raises."""
        try:
            return self._socket.generation()
        except NetlinkError as error:
            raise refused(error) from error

    def has_table(self, table: str) -> bool:
        """Tell whether a table of this family exists."""
        try:
            return self._socket.has_table(self._number, table)
        except NetlinkError as error:
            raise refused(error) from error

    def dump(self, table: str, name: str) -> list[ReadElement]:
        """Return every element of a set or map, in no order. Its time grows with the square of the set's size."""
        try:
            return self._socket.dump(self._number, table, name)
        except NetlinkError as error:
            raise refused(error) from error

    def get(self, table: str, name: str, keys: Sequence[bytes]) -> list[ReadElement | None]:
        """Return the elements of these keys in their order, None where there is none; about 4 µs a key."""
        try:
            return self._socket.get(self._number, table, name, keys)
        except NetlinkError as error:
            raise refused(error) from error


class Monitor:
    """Hears what others change in nftables, in the network namespace of the thread that makes it.

    What the ignored ports change is not even queued. ``fileno()`` becomes readable when there is something to poll.
    """

    def __init__(self, ignore: Sequence[int] = ()) -> None:
        try:
            self._monitor = NftMonitor(ignore)
        except NetlinkError as error:
            raise refused(error) from error

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._monitor.fileno()

    def poll(self) -> list[tuple[int, str, str]]:
        """Return ``(family's number, table, what)`` for each kind of thing others changed since the last call.

        ``what`` is such as ``new rule`` or ``delete table``. The table is ``*`` where notifications were lost: then
        anything may have changed. Never waits.
        """
        try:
            return self._monitor.poll()
        except NetlinkError as error:
            raise refused(error) from error

    def ignore(self, portid: int) -> None:
        """Ignore one more port from now on, what it has done and was not polled included."""
        try:
            self._monitor.ignore(portid)
        except NetlinkError as error:
            raise refused(error) from error

    def ours(self, process: int) -> None:
        """Take what an ended ``nft`` process changed as ours: its port is its process id, which others may get later."""
        try:
            self._monitor.ignore(process)
            self._monitor.heed(process)
        except NetlinkError as error:
            raise refused(error) from error

    @property
    def culprit(self) -> str | None:
        """The program behind the latest change heard of, such as ``nft (process 4711)``, where the kernel told."""
        return self._monitor.culprit
