# SPDX-License-Identifier: Apache-2.0
"""Mode ipvs: the kernel's IPVS chooses and translates; one nftables table around it says who may.

- ``layout``: every name and rule; ``marks``: marks by which IPVS knows a server; ``elements``: sets and maps
- ``frontends``: what a route looks like in the kernel; ``pools``: virtual servers that come, stay and leave
- ``compile``: from changes to a ``transaction``; ``structure``: rules as text; ``commit`` sends; ``drain`` waits
- ``committed``: what the kernel holds; ``readback``, ``verify``, ``counters``, ``watch``: looking at it
- ``probe``, ``settings``: whether and how this kernel can; ``dataplane``: the contract, put together
"""
