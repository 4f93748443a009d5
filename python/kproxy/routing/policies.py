# SPDX-License-Identifier: Apache-2.0
"""What each class of client meets at each role of frontend.

The decision tables of kube-proxy (``docs/differences.md`` lists where we leave them). Masquerading, beside the hairpin law:

- to a ClusterIP: everybody with ``masqueradeAll``; else whoever is known not to be a pod, where pods can be told at all;
- to any other address under policy Cluster: everybody, for the endpoint may be on another node and must answer through us;
- under policy Local: only this node's own packets, whose source may be an address that endpoints cannot answer.
"""

import functools
from typing import Final

from kproxy.table.route import DROP, PASS, REJECT, Policy, Verdict
from kproxy.table.terms import Action, EndpointSet

NOWHERE: Final = Policy(PASS, PASS, PASS)  # of a role that a port has no frontend of


def balance(endpoints: EndpointSet, *, masquerade: bool) -> Verdict:
    """Return the verdict that balances over a set."""
    return Verdict(Action.BALANCE, endpoints, masquerade)


@functools.cache
def internal_policy(*, anywhere: bool, local: bool, own: bool, masquerade_all: bool, detects_pods: bool) -> Policy:
    """Return the verdicts of a ClusterIP.

    ``anywhere``: there is a usable endpoint somewhere. ``local``: the policy is Local. ``own``: this node has an endpoint.
    """
    if not anywhere:
        return Policy(REJECT, REJECT, REJECT)
    if local and not own:
        return Policy(DROP, DROP, DROP)
    endpoints = EndpointSet.LOCAL if local else EndpointSet.ALL
    pod = balance(endpoints, masquerade=masquerade_all)
    other = balance(endpoints, masquerade=masquerade_all or detects_pods)
    return Policy(pod=pod, node=other, outside=other)


@functools.cache
def external_policy(*, anywhere: bool, local: bool, own: bool, loopback: bool) -> Policy:
    """Return the verdicts of every other address.

    ``loopback``: NodePorts answer on the loopback addresses; then they balance over all endpoints whatever the policies say,
    and masquerade, for a packet from 127.0.0.1 cannot leave the node.
    """
    if not anywhere:
        return Policy(REJECT, REJECT, REJECT, REJECT if loopback else PASS)
    everyone = balance(EndpointSet.ALL, masquerade=True)
    to_loopback = everyone if loopback else PASS
    if not local:
        return Policy(everyone, everyone, everyone, to_loopback)
    return Policy(
        pod=balance(EndpointSet.ALL, masquerade=False),  # a pod's packet stays inside the cluster: Local is not for it
        node=everyone,
        outside=balance(EndpointSet.LOCAL, masquerade=False) if own else DROP,
        loopback=to_loopback,
    )


@functools.cache
def sets_used(internal: Policy, external: Policy) -> frozenset[EndpointSet]:
    """Return the endpoint sets that some verdict balances over."""
    verdicts = [verdict for one in (internal, external) for verdict in (one.pod, one.node, one.outside, one.loopback)]
    return frozenset(verdict.endpoints for verdict in verdicts if verdict.action is Action.BALANCE)
