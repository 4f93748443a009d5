# SPDX-License-Identifier: Apache-2.0
"""The running proxy: the only place with time, retries and state.

- ``feed``: events in, wanted table out; ``gate``: what must be known before the first commit
- ``carry``: one attempt to bring a dataplane to a table, isolating what the kernel refuses
- ``lane``: one dataplane with what it has and what it shall have; when it is tried, repaired, verified
- ``loop``: the feed and its lanes, running
- ``observer``: what the loop tells about itself; ``report``: to whom: metrics, health, events, log
- ``app``: the only module that knows every layer; ``settings``: from configuration to routing
- ``flows``: stale UDP flows, cleaned off the sync path; ``takeover``: kube-proxy's rules go once ours are in
- ``signals``, ``logs``, ``systemd``, ``process``: what a daemon owes its host
"""
