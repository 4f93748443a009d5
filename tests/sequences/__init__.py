# SPDX-License-Identifier: Apache-2.0
"""Order over time: what upstream's end-to-end tests add to the cases, and the traps that only time springs.

- ``objects``: Services and EndpointSlices in one line each, as events
- ``stage``: a node with a router, real dataplanes and conntrack clean-up; events in, packets through
- ``process``: the daemon as a process on such a node, with a directory as its cluster
"""
