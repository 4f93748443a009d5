# SPDX-License-Identifier: Apache-2.0
"""nftables: rules are static, Services are data.

- ``layout``: every kernel name, and the chains that never change; ``elements``: set elements as bytes and as text
- ``shapes``: what frontends have in common, and the chains made for it; ``slots``: which endpoint stands in which slot
- ``committed``: what the kernel holds; ``frontends``: the elements a route's frontends have
- ``compile``: from changes to a transaction (pure), with ``structure`` for its text; ``transaction``: its phases as a value
- ``commit``: sends it; ``upkeep``: chains ahead of need
- ``readback``, ``verify``, ``counters``, ``watch``, ``probe``: what the kernel says
- ``dataplane``: all of it as one
"""
