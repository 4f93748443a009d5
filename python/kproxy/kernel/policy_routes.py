# SPDX-License-Identifier: Apache-2.0
"""Policy routing: packets with a mark end on this node, whatever their address is.

That takes a rule (mark -> routing table) and one route in that table, of type *local*. Whether both work is asked the way a
packet would find out: by looking a marked destination up. Messages are put together here, since a library that speaks
rtnetlink costs the start-up a second and refuses to be called where an event loop runs.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.table.errors import KernelError, PermissionDenied
from kproxy.table.terms import Family

_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE, _NEW_RULE, _DELETE_RULE = 24, 25, 26, 32, 33
_ERROR: Final = 2
_REQUEST, _ACKNOWLEDGE, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x200, 0x400
_LOCAL, _HOST, _STATIC, _TO_TABLE = 2, 254, 4, 1  # a route's type, its scope and origin; a rule's action
_ROUTE_DESTINATION, _ROUTE_INTERFACE, _ROUTE_TABLE, _ROUTE_MARK = 1, 4, 15, 16
_RULE_PREFERENCE, _RULE_MARK, _RULE_TABLE, _RULE_MASK = 6, 10, 15, 16
_RULE_NEWS: Final = {Family.IPV4: 1 << 7, Family.IPV6: 1 << 18}
_NUMBERS: Final = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_ELSEWHERE: Final = {Family.IPV4: "192.0.2.254", Family.IPV6: "100::fffe"}  # of documentation, of discarding: nobody's
_TELL_TABLE: Final = 0x1000
_HEADER: Final = struct.Struct("=IHHII")


class PolicyRoute(msgspec.Struct, frozen=True):
    """Packets with the bits ``mark`` are looked up in ``table``, which says that everything is here."""

    family: Family
    mark: int
    table: int
    preference: int


class PolicyRoutes:
    """The door to one policy route, in the network namespace of the thread that makes it."""

    def __init__(self, route: PolicyRoute) -> None:
        self.route = route
        self._family = _NUMBERS[route.family]
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._news.setblocking(False)
        self._news.bind((0, _RULE_NEWS[route.family]))
        self._sequence = 0

    def works(self) -> bool:
        """Tell whether a marked packet to an address of somebody else would end here. Raises KernelError."""
        destination = socket.inet_pton(self._family, _ELSEWHERE[self.route.family])
        body = struct.pack("=BBBBBBBBI", self._family, 8 * len(destination), 0, 0, 0, 0, 0, 0, _TELL_TABLE)
        body += _attribute(_ROUTE_DESTINATION, destination) + _attribute(_ROUTE_MARK, _number(self.route.mark))
        try:
            answer = self._ask(_GET_ROUTE, 0, body)
        except OSError as error:
            if error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ESRCH, errno.EINVAL, errno.EACCES}:
                return False
            raise _refused(error, "looked up") from error
        is_local = answer[7] == _LOCAL  # the route's type, the last byte but the flags
        return is_local and dict(_attributes(answer[12:])).get(_ROUTE_TABLE) == _number(self.route.table)

    def ensure(self) -> None:
        """Make rule and route, as far as they are missing. Raises KernelError."""
        self._change(_NEW_ROUTE, self._route_body())
        self._change(_NEW_RULE, self._rule_body())

    def remove(self) -> None:
        """Take rule and route away, as far as they are there. Raises KernelError."""
        self._change(_DELETE_RULE, self._rule_body())
        self._change(_DELETE_ROUTE, self._route_body())

    def rules_changed(self) -> bool:
        """Tell whether anybody has changed a rule of the family since the last call."""
        changed = False
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    self._news.recv(1 << 16)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                changed = True
        return changed

    def close(self) -> None:
        """Give back the sockets; rule and route stay."""
        self._socket.close()
        self._news.close()

    def _route_body(self) -> bytes:
        body = struct.pack("=BBBBBBBBI", self._family, 0, 0, 0, 0, _STATIC, _HOST, _LOCAL, 0)
        body += _attribute(_ROUTE_INTERFACE, _number(socket.if_nametoindex("lo")))
        return body + _attribute(_ROUTE_TABLE, _number(self.route.table))

    def _rule_body(self) -> bytes:
        mark = _number(self.route.mark)
        body = struct.pack("=BBBBBBBBI", self._family, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
        body += _attribute(_RULE_PREFERENCE, _number(self.route.preference)) + _attribute(_RULE_MARK, mark)
        return body + _attribute(_RULE_MASK, mark) + _attribute(_RULE_TABLE, _number(self.route.table))

    def _change(self, kind: int, body: bytes) -> None:
        flags = _CREATE | _EXCLUSIVE if kind in {_NEW_ROUTE, _NEW_RULE} else 0
        try:
            self._ask(kind, _ACKNOWLEDGE | flags, body)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOENT, errno.ESRCH}:
                raise _refused(error, "changed") from error

    def _ask(self, kind: int, flags: int, body: bytes) -> bytes:
        """Send a request and return the body of its answer. Raises OSError with the kernel's number."""
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, self._sequence, 0)
        self._socket.send(header + body)
        while True:
            for answered, sequence, answer in _messages(self._socket.recv(1 << 16)):
                if sequence != self._sequence:
                    continue
                if answered == _ERROR:
                    (number,) = struct.unpack_from("=i", answer)
                    if number:
                        raise OSError(-number, os.strerror(-number))
                return answer


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, _, sequence, _ = _HEADER.unpack_from(data)
        yield kind, sequence, data[_HEADER.size : length]
        data = data[max((length + 3) & ~3, _HEADER.size) :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind, data[4:length]
        data = data[max((length + 3) & ~3, 4) :]


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _number(value: int) -> bytes:
    return struct.pack("=I", value)


def _refused(error: OSError, what: str) -> KernelError:
    words = f"policy routing cannot be {what}: {error.strerror}"
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PermissionDenied(f"{words}: the process needs CAP_NET_ADMIN")
    return KernelError(words)
