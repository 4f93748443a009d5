# SPDX-License-Identifier: Apache-2.0
"""The operator's wishes, as far as they decide what a packet meets."""

from kproxy.config.effective import Effective


class Settings(Effective, frozen=True, kw_only=True):
    """What the configuration comes to, and for which node.

    ``node`` is this node's name as EndpointSlices write it; empty: unknown, then no endpoint is local.
    """

    node: str = ""


def settings_for(node: str, effective: Effective) -> Settings:
    """Put a node's name beside what is in force there."""
    return Settings(node=node, **{name: getattr(effective, name) for name in Effective.__struct_fields__})
