# SPDX-License-Identifier: Apache-2.0
"""From the configuration in force to what each layer wants to know of it."""

from kproxy.config.effective import Effective, effective
from kproxy.config.loading import node_name
from kproxy.config.schema import KubeProxyConfiguration
from kproxy.daemon.lane import Timing
from kproxy.observe.traffic import Cap
from kproxy.routing.settings import Settings, settings_for


def routing_settings(config: KubeProxyConfiguration) -> Settings:
    """Return what routing wants to know. The mode must be settled."""
    return settings_for(node_name(config), effective(config))


def timing(settings: Effective) -> Timing:
    """Return the loop's periods."""
    return Timing(minimum=settings.min_sync_period.seconds, verify=settings.sync_period.seconds)


def health_timeout(settings: Effective) -> float:
    """Return how many seconds a change may wait before the proxy is not well."""
    return 2 * settings.sync_period.seconds


def traffic_cap(config: KubeProxyConfiguration) -> Cap:
    """Return how many traffic series may be."""
    return Cap(config.kproxy.metrics_max_services, config.kproxy.metrics_max_endpoints)
