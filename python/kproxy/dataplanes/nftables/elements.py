# SPDX-License-Identifier: Apache-2.0
"""The sets and maps of the table, and the keys only it has: slots."""

import functools
import struct
from typing import Final

from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.layout import Kind, Options, Scope
from kproxy.kernel.nft_elements import ID, PORT, PROTOCOL, Field, Key, Schema, addresses
from kproxy.table.terms import Family

SLOT: Final = Field("numgen random mod 65536", 4)
_PAIR: Final = struct.Struct("=II")


def slot(set_id: int, index: int) -> Key:
    """Encode the key of a slot."""
    return _PAIR.pack(set_id, index)


def read_slot(key: Key) -> tuple[int, int]:
    """Decode what ``slot`` encoded."""
    set_id, index = _PAIR.unpack(key)
    return set_id, index


@functools.lru_cache
def schemas(family: Family, options: Options) -> dict[str, Schema]:
    """Return every set and map of the table, by name."""
    source, destination = addresses(family)
    keys = {Kind.SERVICE: (destination, PROTOCOL, PORT), Kind.NODEPORT: (PROTOCOL, PORT)}
    found = [
        Schema(layout.SLOTS, (ID, SLOT), (ID,)),
        Schema(layout.ENDPOINTS, (ID,), (destination, PORT), counter=True),
        Schema(layout.GUARDED, keys[Kind.SERVICE]),
        Schema(layout.ALLOWED, (*keys[Kind.SERVICE], source), interval=True),
        Schema(layout.CLUSTER_IPS, (destination,)),
        Schema(layout.NODEPORT_ADDRESSES, (destination,)),
        Schema(layout.HAIRPIN, (source, destination)),
        Schema(layout.TRAFFIC, keys[Kind.SERVICE], counter=True),
        Schema(layout.REFUSALS, (ID,), counter=True),
        Schema(layout.ABOUT, (ID,), (ID,)),
    ]
    hashes = (SLOT, SLOT)  # any expression of four bytes: nft cannot print a set declared by jhash
    for kind, key in keys.items():
        known = (source, destination) if kind is Kind.SERVICE else (source,)
        client = (*(known if family is Family.IPV4 else hashes), PROTOCOL, PORT)
        found += [
            Schema(kind.shapes, key, (ID,)),
            Schema(kind.sets, key, (ID,), counter=True),
            Schema(kind.locals, key, (ID,)),
            Schema(kind.policies, (ID,), verdict=True),
        ]
        for scope in Scope:
            found += [
                Schema(kind.balancers(scope), (ID,), verdict=True),
                Schema(kind.affinity(scope), client, (ID,), dynamic_size=options.affinity_size),
            ]
    return {schema.name: schema for schema in found}
