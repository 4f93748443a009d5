# SPDX-License-Identifier: Apache-2.0
"""The rules of one nftables table, as bytes: which chains there are, and whether anything in them has changed.

Listing a table through ``nft`` 1.0.6 fetches every element of every set, even when told to leave them out (ten seconds at
200,000), so rules are dumped by netlink. Nothing is parsed: two equal dumps, handles apart, are equal rules.
"""

import zlib
from collections.abc import Iterable

import msgspec

from kproxy._core import NetlinkError, NftSocket
from kproxy.kernel.nfnl import refused


def digest(parts: Iterable[str]) -> int:
    """Return the number that stands for a text, such as a chain's rules as they were written."""
    return zlib.crc32("\n".join(parts).encode())


class Rules(msgspec.Struct, frozen=True):
    """The chains that have rules, and a digest of all rules in their order."""

    chains: frozenset[str]
    digest: int


def read_rules(family: int, table: str) -> Rules:
    """Dump a table's rules; a table that is missing has none. Raises KernelError."""
    try:
        rules = NftSocket().rules(family, table)
    except NetlinkError as error:
        raise refused(error) from error
    digest = 0
    for _, attributes in rules:
        digest = zlib.crc32(attributes, digest)
    return Rules(frozenset(chain for chain, _ in rules), digest)
