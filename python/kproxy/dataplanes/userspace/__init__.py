# SPDX-License-Identifier: Apache-2.0
"""userspace: rules judge and hand over, a relay balances.

- ``layout``: every kernel name, and the chains that never change; ``judging``: what each class of client meets
- ``elements``: the table's sets and what a route has in them; ``services``: what the relay is told of a route
- ``committed``: what the kernel holds; ``compile``: from changes to a transaction (pure), with ``structure`` for its text;
  ``transaction``: its phases as a value
- ``commit``: sends it; ``relay``: the relay as a thing of its own
- ``readback``, ``verify``, ``counters``, ``probe``: what kernel and relay say
- ``dataplane``: all of it as one; ``opening``: the dataplanes of both families over one relay
"""
