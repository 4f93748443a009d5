# SPDX-License-Identifier: Apache-2.0
"""What a packet shall meet, decided once, as plain values.

- ``terms``: families, protocols, modes and the other closed sets of words
- ``addresses``: canonical text of addresses and prefixes
- ``endpoint``, ``frontend``, ``route``: the parts of a Service
- ``node``: what the table needs to know of this node
- ``routing_table``: the whole, its lookups, and what changed between two of them
- ``interpret``: the table's own reading of a packet (the model every mode is held to)
- ``errors``, ``clock``: the error tree; time as a value one can fake

Everything here is frozen, compares by content and does no I/O.
"""
