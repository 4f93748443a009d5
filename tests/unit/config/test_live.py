# SPDX-License-Identifier: Apache-2.0
"""A changed file is applied while running, or ends the process with upstream's words."""

from pathlib import Path

import pytest

from kproxy.config.live import FIXED, IDLE, Apply, Decision, End, Unchanged, judge
from kproxy.config.loading import complete, load
from kproxy.config.paths import leaves
from kproxy.config.schema import KubeProxyConfiguration

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


def _judge(folder: Path, before: str, after: str | None) -> Decision:
    file = folder / "config.yaml"
    file.write_text(HEAD + before, encoding="utf-8")
    start = complete(load([f"--config={file}"]), nftables_works=True)
    return judge(start, None if after is None else HEAD + after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "# a remark\n"),
        ("", "mode: ''\n"),
        ("", "configSyncPeriod: 15m\n"),
        ("", "portRange: 1-2\n"),
        ("", "bananas: 1\n"),
    ],
)
def test_nothing_changed(tmp_path: Path, before: str, after: str) -> None:
    """A file that says the same in other words changes nothing."""
    assert _judge(tmp_path, before, after) == Unchanged()


def test_applied_live(tmp_path: Path) -> None:
    """Periods, detection, NodePort addresses and log levels change while running; the new start holds them."""
    decision = _judge(
        tmp_path,
        "",
        "nodePortAddresses: [all]\nclusterCIDR: 10.0.0.0/8\nnftables: {syncPeriod: 9s}\nlogging: {verbosity: 4}\n",
    )

    assert isinstance(decision, Apply)
    assert set(decision.fields) == {"nodePortAddresses", "clusterCIDR", "nftables.syncPeriod", "logging.verbosity"}
    assert decision.start.config.node_port_addresses == ("all",)
    assert decision.start.config.mode == "nftables"


def test_another_mode_is_applied_live(tmp_path: Path) -> None:
    """With what it means for NodePorts; where it cannot serve, all else is applied with the old one."""
    decision = _judge(tmp_path, "mode: nftables\n", "mode: iptables\nclusterCIDR: 10.0.0.0/8\n")

    assert isinstance(decision, Apply)
    assert set(decision.fields) == {"mode", "clusterCIDR", "nodePortAddresses"}
    assert (decision.start.config.mode, decision.start.config.node_port_addresses) == ("iptables", ())
    kept = decision.keeping("nftables")
    assert (kept.start.config.mode, kept.start.config.node_port_addresses) == ("nftables", ("primary",))
    assert kept.start.config.cluster_cidr == "10.0.0.0/8"
    assert "mode" not in kept.fields


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ("conntrack: {min: 1}\nclusterCIDR: 10.0.0.0/8\n", "conntrack.min (sysctls want"),
        ("append fake content", "cannot be used: configuration file"),
        ("mode: magic\n", "cannot be used: 1 setting is wrong"),
        (None, "is gone"),
    ],
)
def test_ends(tmp_path: Path, after: str | None, words: str) -> None:
    """What cannot be applied ends the process with upstream's words and the reason."""
    decision = _judge(tmp_path, "", after)

    assert isinstance(decision, End)
    assert decision.words.startswith("content of the proxy server's configuration file was updated")
    assert words in decision.words


def test_every_fixed_field_exists() -> None:
    """The lists of fields name fields or sections of the schema."""
    known = {path for path, _ in leaves(KubeProxyConfiguration())}
    for name in (*FIXED, *IDLE):
        assert any(path == name or path.startswith(f"{name}.") for path in known), name
