# SPDX-License-Identifier: Apache-2.0
"""What would keep packets from the relay is told before anything is changed, with the mend."""

from pathlib import Path

import pytest

from kproxy.dataplanes.userspace import probe
from kproxy.dataplanes.userspace.layout import LOOPBACK_ONLY, Options
from kproxy.kernel.sysctl import Sysctls
from kproxy.table.terms import Family


def sysctls(root: Path, *names: str) -> Sysctls:
    """Return settings of which these are 1."""
    for name in names:
        path = root / name.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n", encoding="ascii")
    return Sysctls(root)


def test_source_validation_by_mark_is_an_obstacle_of_ipv4(tmp_path: Path) -> None:
    """With it marked packets are martians; IPv6 has no such thing, and loopback clients are not routed."""
    settings = sysctls(tmp_path, "net.ipv4.conf.all.src_valid_mark")

    (words,) = probe.obstacles(Family.IPV4, Options(), settings)
    assert "set it to 0" in words
    assert list(probe.obstacles(Family.IPV6, Options(), settings)) == []
    assert list(probe.obstacles(Family.IPV4, LOOPBACK_ONLY, settings)) == []


@pytest.mark.parametrize("family", list(Family))
def test_frames_of_bridges_are_no_obstacle(family: Family, tmp_path: Path) -> None:
    """Each family has its own sysctl; rules that differ serve what is carried."""
    names = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
    settings = sysctls(tmp_path, names[family is Family.IPV6])

    assert [probe.carried(each, settings) for each in Family] == [each is family for each in Family]
    assert list(probe.obstacles(family, Options(), settings)) == []
