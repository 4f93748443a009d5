# SPDX-License-Identifier: Apache-2.0
"""The door to the kernel's IPVS: what it holds in one dump, changes as a batch with a verdict for each.

Generic netlink, spoken by ``_core``; no process, no table listed on the way of a change. A batch is *not* a transaction:
the kernel carries out one operation after the other, and one that fails leaves the others in force. Nothing here flushes.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from kproxy import _core
from kproxy.kernel.ipvs_tuples import FAMILY_NUMBERS, change_tuple, key_tuple, read_real, read_server
from kproxy.kernel.ipvs_values import Command, Held, HeldReal, Operation, ServerKey
from kproxy.kernel.nfnl import NetlinkRefused, refused
from kproxy.table.errors import KernelError, PermissionDenied, Unsupported
from kproxy.table.terms import Family, Protocol

_DENIED: Final = {errno.EPERM, errno.EACCES}


class Timeouts(msgspec.Struct, frozen=True):
    """How long idle connections are kept, in seconds; 0 in a change leaves what is."""

    tcp: int = 0
    tcp_fin: int = 0
    udp: int = 0


class Failure(msgspec.Struct, frozen=True):
    """An operation the kernel did not take: which of the batch, counted from 0, and why."""

    index: int
    operation: Operation
    error: KernelError


class Ipvs:
    """IPVS in the network namespace of the thread that makes it. Safe to share between threads.

    Making it loads the kernel's module where that is allowed. Every method raises KernelErrors.
    """

    def __init__(self) -> None:
        try:
            self._ipvs = _core.Ipvs()
        except _core.NetlinkError as error:
            raise _refused(error) from error

    def dump(self, family: Family | None = None) -> Mapping[ServerKey, Held]:
        """Return every virtual server with its real servers, of one family or of both; others' servers too."""
        with _refusals():
            held = self._ipvs.dump(None if family is None else FAMILY_NUMBERS[family])
        servers = (read_server(server, reals) for server, reals in held)
        return {each.server.key: each for each in servers if each is not None}

    def servers(self, family: Family | None = None) -> Mapping[ServerKey, Held]:
        """Return every virtual server without its real servers: one dump, whatever their number."""
        with _refusals():
            held = self._ipvs.servers()
        servers = (read_server(server, ()) for server in held if family is None or server[0][0] == FAMILY_NUMBERS[family])
        return {each.server.key: each for each in servers if each is not None}

    def reals(self, key: ServerKey) -> Sequence[HeldReal]:
        """Return the real servers of one virtual server; none where there is no such server."""
        with _refusals():
            return [read_real(real) for real in self._ipvs.reals(key_tuple(key))]

    def apply(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Carry out operations in order. One that fails does not stop those behind it.

        Raises PermissionDenied before anything is changed.
        """
        with _refusals():
            refusals = self._ipvs.apply([change_tuple(operation) for operation in operations])
        _check_permission(refusals)
        return [
            Failure(index, operations[index], _failed(operations[index], error, text)) for index, error, text in refusals
        ]

    def timeouts(self) -> Timeouts:
        """Return how long idle connections are kept."""
        with _refusals():
            return Timeouts(*self._ipvs.timeouts())

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Change how long idle connections are kept."""
        with _refusals():
            self._ipvs.set_timeouts(timeouts.tcp, timeouts.tcp_fin, timeouts.udp)

    def probe(self, schedulers: Sequence[str] = ()) -> None:
        """Raise Unsupported, with the mend, where a scheduler is missing, or PermissionDenied. Changes nothing.

        Each is asked for in a server the kernel refuses, for its prefix of 0, only after it has looked the scheduler up.
        """
        key = key_tuple(ServerKey.at(Protocol.TCP, "::", 1))
        for scheduler in schedulers:
            with _refusals():
                refusals = self._ipvs.apply([(Command.ADD_SERVER, key, (scheduler, 0, 0, 0, ""), None)])
            _check_permission(refusals)
            if any(error == errno.ENOENT for _, error, _ in refusals):
                raise _missing(scheduler)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Give the core's exceptions their names in the error tree."""
    try:
        yield
    except _core.NetlinkError as error:
        raise _refused(error) from error


def _refused(error: _core.NetlinkError) -> KernelError:
    if error.errno == errno.ENOENT:
        return Unsupported("the kernel has no IPVS: modprobe ip_vs, or choose another mode")
    return refused(error)


def _check_permission(refusals: Sequence[tuple[int, int, str | None]]) -> None:
    if any(error in _DENIED for _, error, _ in refusals):  # then all of them: nothing was changed
        raise PermissionDenied("IPVS may not be changed: give kproxy CAP_NET_ADMIN")


def _missing(scheduler: str) -> Unsupported:
    return Unsupported(
        f"the kernel has no IPVS scheduler {scheduler}: modprobe ip_vs_{scheduler}, or choose another scheduler"
    )


def _failed(operation: Operation, error: int, text: str | None) -> KernelError:
    """Return the error for one operation of a batch."""
    if error == errno.ENOENT and operation.server is not None:
        return _missing(operation.server.scheduler)
    words = text or os.strerror(error)
    return NetlinkRefused(f"ipvsadm {operation}: {words} ({errno.errorcode.get(error, error)})", error)
