# SPDX-License-Identifier: Apache-2.0
"""The kernel's doors, thin: each speaks one interface and turns its refusals into errors that say what to do.

- ``nft``: the nft command, for structure (tables, maps, chains, rules)
- ``nfnl``: what the kernel's refusals by netfilter netlink mean
- ``ipvs``, ``ipvs_values``, ``ipvs_tuples``: virtual and real servers, dumped whole, changed in batches
- ``conntrack``: flows that lead to endpoints which are gone
- ``xtables``: iptables and ip6tables, both back-ends, for what kube-proxy leaves
- ``sysctl``, ``inotify``: settings; files that change
"""
