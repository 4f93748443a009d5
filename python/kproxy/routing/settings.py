# SPDX-License-Identifier: Apache-2.0
"""The operator's wishes, as far as they decide what a packet meets."""

import msgspec

from kproxy.config import settings as configured


class Settings(configured.Settings, frozen=True, kw_only=True):
    """What the configuration comes to, and for which node.

    ``node`` is this node's name as EndpointSlices write it; empty: unknown, then no endpoint is local.
    """

    node: str = ""


def settings_for(node: str, settings: configured.Settings) -> Settings:
    """Put a node's name beside its settings."""
    return Settings(node=node, **msgspec.structs.asdict(settings))
