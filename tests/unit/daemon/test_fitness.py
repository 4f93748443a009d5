# SPDX-License-Identifier: Apache-2.0
"""What does not fit the node is logged; what leaves nothing to work with ends the start."""

import logging

import pytest

from kproxy.config.decode import configuration_of
from kproxy.config.defaults import for_platform, with_defaults
from kproxy.config.schema import KubeProxyConfiguration
from kproxy.daemon.fitness import require_fit
from kproxy.daemon.gate import Gate
from kproxy.objects.events import Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node, NodeAddress, NodeSpec, NodeStatus
from kproxy.table.errors import ConfigError
from kproxy.table.terms import Family

NODE = Node(Meta(name="n1"), NodeSpec(pod_cidrs=("fd00::/64",)), NodeStatus((NodeAddress("InternalIP", "192.0.2.1"),)))


def _config(**values: object) -> KubeProxyConfiguration:
    return for_platform(with_defaults(configuration_of(values)), nftables_works=True)


def test_a_misfit_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A cluster range of the other family costs local detection only, so the start goes on with a line in the log."""
    with caplog.at_level(logging.ERROR):
        require_fit(_config(clusterCIDR="fd00::/48"), NODE, tuple(Family))

    assert "clusterCIDR holds only IPv6 prefixes" in caplog.text


def test_what_is_fatal_ends_the_start() -> None:
    """In mode NodeCIDR a Node whose ranges are all of the other family leaves nothing to tell pods by."""
    gate = Gate(0.0, node="n1", fits=lambda node: require_fit(_config(detectLocalMode="NodeCIDR"), node, tuple(Family)))
    gate.note(Upsert(NODE))

    with pytest.raises(ConfigError, match=r"only IPv6 pod ranges \(spec.podCIDRs\): give the node an IPv4 range"):
        gate.check()


def test_defaults_fit(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said where nothing is set and no Node is known."""
    require_fit(_config(), None, tuple(Family))

    assert caplog.text == ""
