# SPDX-License-Identifier: Apache-2.0
"""From routes to one kernel interface.

- ``contract``: what every dataplane does, and the values it does it with
- ``nft_tables``: what the nftables tables of several modes say in the same way
- ``fake``: a dataplane without a kernel, as complete as the real ones
- ``upstream``: what kube-proxy leaves on a node, and taking it out
- one folder a mode: ``layout`` (names and shapes), ``compile`` (pure), ``commit``, ``verify``
"""
