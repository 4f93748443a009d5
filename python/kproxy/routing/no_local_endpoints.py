# SPDX-License-Identifier: Apache-2.0
"""How many Service ports drop traffic here although other nodes could serve it: kube-proxy's gauge of that name."""

from collections.abc import Iterable

from kproxy.table.route import Route
from kproxy.table.terms import Action, Role


def without_local_endpoints(routes: Iterable[Route]) -> dict[Role, int]:
    """Count the routes of one family whose policy is Local while this node has no endpoint and another has."""
    counted = dict.fromkeys(Role, 0)
    for route in routes:
        for role in Role:
            if route.policy(role).outside.action is Action.DROP and any(one.role is role for one in route.frontends):
                counted[role] += 1
    return counted
