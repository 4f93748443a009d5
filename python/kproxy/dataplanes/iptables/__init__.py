# SPDX-License-Identifier: Apache-2.0
"""Mode iptables: a tree of chains by address and port instead of one list.

- ``layout``: names and options; ``rules``: a rule as text, and what it counts
- ``tree``: where in the chains an address or port stands; ``spaces``: the trees there are, and what their chains hold
- ``clients``, ``meeting``, ``shares``, ``balance``, ``affinity``, ``translate``, ``refuse``: the rules of a route
- ``skeleton``, ``jumps``: the rules that are nobody's
- ``state``: everything that shall be in force, as chains; ``compile``, ``transaction``: the way from one to the next
- ``kind``, ``probe``, ``doors``, ``readback``, ``commit``, ``takeout``, ``localnet``: speak to the kernel
- ``verify``, ``counters``: compare, and count
- ``dataplane``: the contract, put together from these
"""
