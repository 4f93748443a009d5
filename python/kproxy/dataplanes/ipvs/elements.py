# SPDX-License-Identifier: Apache-2.0
"""The table's sets and maps."""

import functools
from typing import Final, TypeAlias

from kproxy.dataplanes.ipvs import layout
from kproxy.dataplanes.ipvs.layout import CLIENTS, Kind
from kproxy.kernel.nft_elements import ID, PORT, PROTOCOL, Field, Schema, addresses
from kproxy.table.terms import Family

ElementKey: TypeAlias = tuple[str, bytes, bytes | None]  # set, key, last key of an interval
Elements: TypeAlias = dict[ElementKey, bytes | None]

MARK: Final = Field("meta mark", 4, "mark")
SHARED: Final = frozenset({layout.CLUSTER_IPS, layout.HAIRPIN})  # elements that several routes may have in common
OWN: Final = frozenset({layout.REFUSALS, layout.ABOUT})  # elements that belong to the table and to no route


@functools.lru_cache
def schemas(family: Family) -> dict[str, Schema]:
    """Return every set and map of the table, by name."""
    source, destination = addresses(family)
    keys = {Kind.SERVICE: (destination, PROTOCOL, PORT), Kind.NODEPORT: (PROTOCOL, PORT)}
    found = [
        Schema(layout.SERVERS, keys[Kind.SERVICE]),
        Schema(layout.GUARDED, keys[Kind.SERVICE]),
        Schema(layout.ALLOWED, (*keys[Kind.SERVICE], source), interval=True),
        Schema(layout.CLUSTER_IPS, (destination,)),
        Schema(layout.NODEPORT_ADDRESSES, (destination,)),
        Schema(layout.HAIRPIN, (source, destination)),
        Schema(layout.REFUSALS, (ID,), counter=True),
        Schema(layout.ABOUT, (ID,), (ID,)),
    ]
    for kind, key in keys.items():
        for client in CLIENTS:
            found.append(Schema(kind.answers(client), key, (ID,)))
            found.append(Schema(kind.marks(client), key, (MARK,)))
    return {schema.name: schema for schema in found}
