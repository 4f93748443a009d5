# SPDX-License-Identifier: Apache-2.0
"""Mode iptables: a tree of chains by address and port instead of one list.

- ``layout``: names and options; ``rules``: a rule as text, and what it counts
- ``tree``: where in the chains an address or port stands; ``spaces``: the trees there are, and what their chains hold
- ``clients``, ``shares``, ``balance``, ``translate``, ``refuse``: the rules of a route; ``skeleton``: those of nobody
- ``state``: everything that shall be in force, as chains; ``compile``, ``transaction``: the way from one to the next
- ``commit``, ``affinity_sets``, ``readback``, ``verify``, ``counters``, ``watch``, ``probe``: speak to the kernel
- ``dataplane``: the contract, put together from these
"""
