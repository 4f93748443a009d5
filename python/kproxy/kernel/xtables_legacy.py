# SPDX-License-Identifier: Apache-2.0
"""The kernel's own door to a table of legacy iptables: what it holds and has counted, without starting a process.

Legacy iptables tells nobody of changes. But it says at once how many rules a table has and how large they are, and hands
the whole table out in a few milliseconds.
"""

import ctypes
import os
import socket
import struct
from typing import Final

import msgspec

from kproxy._core import xtables_entries
from kproxy.table.errors import KernelError
from kproxy.table.terms import Family

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_GET_INFO, _GET_ENTRIES = 64, 65  # IPT_SO_*, IP6T_SO_*
_NAME: Final = 32  # XT_TABLE_MAXNAMELEN
_INFO: Final = struct.Struct("32s13I")  # xt_getinfo: name, hooks, five entries, five underflows, count, size
_HEADER: Final = 40  # xt_get_entries
_LEVELS: Final = {Family.IPV4: socket.IPPROTO_IP, Family.IPV6: socket.IPPROTO_IPV6}
_DOMAINS: Final = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


class Entries(msgspec.Struct, frozen=True):
    """A table: a number that stands for its rules without their counters, and the packets each rule of a chain has seen."""

    fingerprint: int
    counts: dict[str, list[tuple[int, int]]]


class LegacyTables:
    """Reads legacy tables of the calling thread's network namespace. A table must exist: asking would create it."""

    def __init__(self, family: Family) -> None:
        self._level, self._is_ipv6 = _LEVELS[family], family is Family.IPV6
        self._socket = socket.socket(_DOMAINS[family], socket.SOCK_DGRAM)
        self._buffer = bytearray(_INFO.size)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def outline(self, table: str) -> bytes:
        """Return what changes when rules come or go: costs a microsecond. Raises KernelError."""
        return bytes(self._get(_GET_INFO, table, _INFO.size))

    def entries(self, table: str) -> Entries:
        """Return the whole table. Raises KernelError."""
        size = _INFO.unpack(self.outline(table))[13]
        fingerprint, chains = xtables_entries(
            self._get(_GET_ENTRIES, table, _HEADER + size)[_HEADER:].tobytes(), self._is_ipv6
        )
        return Entries(fingerprint, dict(chains))

    def _get(self, option: int, table: str, size: int) -> memoryview:
        """Ask for a table; the answer stands in a buffer that the next question overwrites."""
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        struct.pack_into("32sI", self._buffer, 0, table.encode(), size - _HEADER)
        place = (ctypes.c_char * size).from_buffer(self._buffer)
        length = ctypes.c_uint32(size)
        if _LIBC.getsockopt(self._socket.fileno(), self._level, option, place, ctypes.byref(length)):
            words = os.strerror(ctypes.get_errno())
            raise KernelError(f"table {table} of legacy iptables cannot be read: {words}")
        return memoryview(self._buffer)[:size]
