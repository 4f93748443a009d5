# SPDX-License-Identifier: Apache-2.0
"""Does the configuration fit the node it has come to? Told once, when the Node is known or given up waiting for."""

import logging
from collections.abc import Collection
from typing import Final

from kproxy.config.family_checks import check_families, check_node_port_addresses
from kproxy.config.local_detection import pod_cidrs
from kproxy.config.node_ips import node_addresses, node_ips
from kproxy.config.schema import KubeProxyConfiguration
from kproxy.objects.node import Node
from kproxy.table.errors import ConfigError
from kproxy.table.terms import Family

log: Final = logging.getLogger(__name__)


def require_fit(config: KubeProxyConfiguration, node: Node | None, families: Collection[Family]) -> None:
    """Log what of a completed configuration does not fit. Raises ConfigError for what leaves nothing to work with.

    ``families`` are those that this host can do.
    """
    primary = node_ips(node_addresses(node), config.bind_address).primary
    ranges = pod_cidrs(node)
    misfits = [
        *check_node_port_addresses(config, primary, ranges),
        *check_families(config, primary, ranges, dual_stack=len(families) > 1),
    ]
    for misfit in misfits:
        if not misfit.fatal:
            log.error("%s", misfit.words)
    fatal = [misfit.words for misfit in misfits if misfit.fatal]
    if fatal:
        raise ConfigError("; ".join(fatal))
