# SPDX-License-Identifier: Apache-2.0
"""The rules of one nftables table, as bytes: which chains there are, and whether anything in them has changed.

Listing a table through ``nft`` 1.0.6 fetches every element of every set, even when told to leave them out (ten seconds at
200,000), so rules are dumped by netlink. Nothing is parsed: two equal dumps, handles apart, are equal rules.
"""

import errno
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from kproxy.table.errors import Busy, KernelError

_GET_RULE: Final = 10 << 8 | 7  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETRULE
_REQUEST_DUMP: Final = 0x001 | 0x300  # NLM_F_REQUEST | NLM_F_DUMP
_INTERRUPTED: Final = 0x10  # NLM_F_DUMP_INTR: somebody else committed meanwhile
_ERROR, _DONE = 2, 3
_TABLE, _CHAIN, _HANDLE, _POSITION = 1, 2, 3, 6  # NFTA_RULE_*
_HEADER: Final = struct.Struct("=IHHII")
_FAMILY: Final = struct.Struct("=BBH")  # struct nfgenmsg
_ATTRIBUTE: Final = struct.Struct("=HH")
_NETLINK_NETFILTER: Final = 12
_ATTEMPTS: Final = 20


class Rules(msgspec.Struct, frozen=True):
    """The chains that have rules, and a digest of all rules in their order."""

    chains: frozenset[str]
    digest: int


def read_rules(family: int, table: str) -> Rules:
    """Dump a table's rules; a table that is missing has none. Raises KernelError."""
    for _ in range(_ATTEMPTS):
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as door:
                door.bind((0, 0))
                return _read(door, family, table)
        except Busy:
            continue
        except OSError as error:
            raise KernelError(f"the rules of table {table} cannot be read: {error.strerror}") from error
    raise Busy(f"the rules of table {table} cannot be read: they change all the time")


def _read(door: socket.socket, family: int, table: str) -> Rules:
    name = table.encode() + b"\0"
    body = _FAMILY.pack(family, 0, 0) + _ATTRIBUTE.pack(4 + len(name), _TABLE) + name + bytes(-len(name) % 4)
    door.send(_HEADER.pack(16 + len(body), _GET_RULE, _REQUEST_DUMP, 1, 0) + body)
    chains: set[str] = set()
    digest = 0
    for payload in _messages(door):
        for kind, value in _attributes(payload[4:]):
            if kind == _CHAIN:
                chains.add(value.rstrip(b"\0").decode())
            if kind not in {_HANDLE, _POSITION}:
                digest = zlib.crc32(value, zlib.crc32(kind.to_bytes(2, "little"), digest))
    return Rules(frozenset(chains), digest)


def _messages(door: socket.socket) -> Iterator[bytes]:
    while True:
        data = door.recv(1 << 17)
        while data:
            length, kind, flags, _, _ = _HEADER.unpack_from(data)
            payload, data = data[16:length], data[(length + 3) & ~3 :]
            if flags & _INTERRUPTED:
                raise Busy("interrupted")
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -struct.unpack_from("=i", payload)[0]
                if code == errno.ENOENT:
                    return
                raise OSError(code, os.strerror(code))
            yield payload


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
