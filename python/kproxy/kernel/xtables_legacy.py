# SPDX-License-Identifier: Apache-2.0
"""The kernel's own door to a table of legacy iptables: what it holds and has counted, without starting a process.

Legacy iptables tells nobody of changes. But it says at once how many rules a table has and how large they are, and hands
the whole table out in a few milliseconds.
"""

import ctypes
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.table.errors import KernelError
from kproxy.table.terms import Family

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_GET_INFO, _GET_ENTRIES = 64, 65  # IPT_SO_*, IP6T_SO_*
_NAME: Final = 32  # XT_TABLE_MAXNAMELEN
_INFO: Final = struct.Struct("32s13I")  # xt_getinfo: name, hooks, five entries, five underflows, count, size
_HEADER: Final = 40  # xt_get_entries
_TARGET_NAME, _TARGET_DATA = slice(2, 31), 32  # xt_entry_target
_CHAIN_NAME: Final = 30  # xt_error_target


class _Layout(msgspec.Struct, frozen=True):
    """Where the parts of an entry stand: target and next entry (two shorts), counters (two 64-bit numbers)."""

    level: int
    domain: int
    offsets: int
    counters: int


_LAYOUTS: Final = {
    Family.IPV4: _Layout(socket.IPPROTO_IP, socket.AF_INET, 88, 96),
    Family.IPV6: _Layout(socket.IPPROTO_IPV6, socket.AF_INET6, 140, 152),
}


class Entries(msgspec.Struct, frozen=True):
    """A table: a number that stands for its rules without their counters, and the packets each rule of a chain has seen."""

    fingerprint: int
    counts: dict[str, list[tuple[int, int]]]


class LegacyTables:
    """Reads legacy tables of the calling thread's network namespace. A table must exist: asking would create it."""

    def __init__(self, family: Family) -> None:
        self._layout = _LAYOUTS[family]
        self._socket = socket.socket(self._layout.domain, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def outline(self, table: str) -> bytes:
        """Return what changes when rules come or go: costs a microsecond. Raises KernelError."""
        return self._get(_GET_INFO, _INFO.pack(table.encode(), *[0] * 13), table)

    def entries(self, table: str) -> Entries:
        """Return the whole table. Raises KernelError."""
        size = _INFO.unpack(self.outline(table))[13]
        header = struct.pack("32sI4x", table.encode(), size)
        return self._read(memoryview(self._get(_GET_ENTRIES, header + bytes(size), table))[_HEADER:])

    def _get(self, option: int, request: bytes, table: str) -> bytes:
        buffer = ctypes.create_string_buffer(request, len(request))
        length = ctypes.c_uint32(len(request))
        if _LIBC.getsockopt(self._socket.fileno(), self._layout.level, option, buffer, ctypes.byref(length)):
            words = os.strerror(ctypes.get_errno())
            raise KernelError(f"table {table} of legacy iptables cannot be read: {words}")
        return buffer.raw

    def _read(self, entries: memoryview) -> Entries:
        fingerprint = 0
        counts: dict[str, list[tuple[int, int]]] = {}
        chain: list[tuple[int, int]] = []
        counters = self._layout.counters
        for start, target, end in self._walk(entries):
            fingerprint = zlib.crc32(entries[start : start + counters], fingerprint)
            fingerprint = zlib.crc32(entries[start + counters + 16 : end], fingerprint)
            name = bytes(entries[start + target :][_TARGET_NAME]).partition(b"\0")[0]
            if name == b"ERROR":
                data = start + target + _TARGET_DATA
                chain = counts[bytes(entries[data : data + _CHAIN_NAME]).partition(b"\0")[0].decode()] = []
            else:
                chain.append(struct.unpack_from("QQ", entries, start + counters))
        for rules in counts.values():
            del rules[-1:]  # each chain a user made ends with a rule that returns
        return Entries(fingerprint, counts)

    def _walk(self, entries: memoryview) -> Iterator[tuple[int, int, int]]:
        """Yield each entry: where it starts, its target from there, where it ends."""
        start = 0
        while start < len(entries):
            target, length = struct.unpack_from("HH", entries, start + self._layout.offsets)
            if not length:
                return
            yield start, target, start + length
            start += length
