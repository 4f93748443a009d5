# SPDX-License-Identifier: Apache-2.0
"""From what the cluster says to what a packet meets: objects to RoutingTable to Changes. Pure, and all semantics live here.

- ``settings``, ``node_facts``: the operator's wishes, and this node as routing sees it
- ``shape`` (with ``frontends``, ``source_ranges``, ``annotations``): what of a Service decides anything
- ``slices``: the endpoints of a slice by port; ``triggers``: the times their controller wrote on it
- ``store``: what is kept of the cluster
- ``resolve`` (with ``endpoints``, ``categorize``, ``policies``): one Service's routes
- ``claims``: who gets a frontend that two Services claim
- ``diff``: from two tables to Changes; ``router``: the one object the loop talks to
- ``stale``, ``no_local_endpoints``, ``trace``: which UDP flows to cut, what a gauge counts, why an endpoint is left out
"""
