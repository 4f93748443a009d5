# SPDX-License-Identifier: Apache-2.0
"""File against flags: who counts, and what a wrong file is told."""

from pathlib import Path

import pytest

from kproxy.config.durations import Duration
from kproxy.config.effective import effective
from kproxy.config.loading import complete, load, node_name
from kproxy.config.schema import VModule
from kproxy.table.errors import ConfigError
from kproxy.table.terms import Mode

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


def _file(folder: Path, body: str, head: str = HEAD) -> str:
    path = folder / "config.yaml"
    path.write_text(head + body, encoding="utf-8")
    return f"--config={path}"


def test_the_file_replaces_flags(tmp_path: Path) -> None:
    """A flag that sets a field counts for nothing beside a file, and a warning says so."""
    start = load([_file(tmp_path, "mode: iptables\n"), "--proxy-mode=nftables", "--masquerade-all"])

    assert (start.config.mode, start.config.iptables.masquerade_all) == ("iptables", False)
    assert any("--proxy-mode, --masquerade-all: without effect beside --config" in warning for warning in start.warnings)


def test_flags_that_beat_the_file(tmp_path: Path) -> None:
    """Logging, the node's name and what only kproxy knows are taken from the flags; vmodule is put in front."""
    body = (
        "hostnameOverride: file\n"
        "logging: {verbosity: 1, vmodule: [{filePattern: a, verbosity: 1}]}\nkproxy: {manifests: /file}\n"
    )
    start = load([_file(tmp_path, body), "--hostname-override= Flag ", "-v5", "--vmodule=b=2", "--manifests=/flag"])

    assert node_name(start.config) == "flag"
    assert start.config.logging.verbosity == 5
    assert start.config.logging.vmodule == (VModule(file_pattern="b", verbosity=2), VModule(file_pattern="a", verbosity=1))
    assert start.config.kproxy.manifests == "/flag"
    assert not start.warnings


def test_flags_alone_keep_their_defaults() -> None:
    """Without a file, defaults are settled before the flags are read: IPv6 does not move the servers, 0s stays 0s."""
    config = load(["--bind-address=::1", "--iptables-min-sync-period=0s", "--proxy-mode=ipvs"]).config

    assert (config.healthz_bind_address, config.metrics_bind_address) == ("0.0.0.0:10256", "127.0.0.1:10249")
    assert config.iptables.min_sync_period == 0
    assert config.ipvs.min_sync_period == Duration.of(1)


def test_a_file_fills_defaults_after_reading(tmp_path: Path) -> None:
    """In a file, an IPv6 bind address moves the servers, zero periods are filled, and ipvs has no least period."""
    config = load([_file(tmp_path, 'bindAddress: "::"\nmode: ipvs\niptables: {minSyncPeriod: 0s}\n')]).config

    assert (config.healthz_bind_address, config.metrics_bind_address) == ("[::]:10256", "[::1]:10249")
    assert config.iptables.min_sync_period == Duration.of(1)
    assert config.ipvs.min_sync_period == 0


def test_deprecated_ports() -> None:
    """Port 0 switches the health server off; a bare address gets the deprecated port."""
    assert load(["--healthz-port=0"]).config.healthz_bind_address == ""
    start = load(["--healthz-bind-address=10.0.0.1", "--healthz-port=99"])
    assert start.config.healthz_bind_address == "10.0.0.1:99"
    assert start.warnings == ("--healthz-port is deprecated: use --healthz-bind-address",)


def test_periods_follow_the_mode() -> None:
    """Nftables takes the periods of the iptables flags and its own masquerade settings."""
    start = complete(
        load(["--iptables-sync-period=9s", "--masquerade-all", "--iptables-masquerade-bit=3"]), nftables_works=True
    )
    values = effective(start.config)

    assert (values.mode, values.sync_period, values.masquerade_all) == (Mode.NFTABLES, Duration.of(9), True)
    assert values.masquerade_bit == 14
    assert values.node_port_addresses == ("primary",)


def test_the_section_of_the_mode_that_was_chosen_is_judged(tmp_path: Path) -> None:
    """An empty mode is judged again once it is known."""
    start = load([_file(tmp_path, "nftables: {syncPeriod: 1s, minSyncPeriod: 2s}\n")])

    with pytest.raises(ConfigError, match=r"line 3: nftables.syncPeriod: 1s must be greater than or equal to minSyncPeriod"):
        complete(start, nftables_works=True)
    assert complete(start, nftables_works=False).config.mode == "iptables"


WRONG = {
    "mode: [nftables\n": "line 4: not YAML or JSON: expected ',' or ']', but got '<stream end>'",
    "bindAddress: ::\n": "line 3: not YAML or JSON: mapping values are not allowed here",
    "bindAddress: 10\n": "line 3: bindAddress: Expected `str`, got `int`",
    "iptables:\n  syncPeriod: 30\n":
        'line 4: iptables.syncPeriod: 30 is not a duration: write text with a unit, such as "30s"',
    "iptables:\n  syncPeriod: soon\n": "line 4: iptables.syncPeriod: 'soon' is not a duration: write a number with a unit",
    "conntrack:\n  maxPerCore: lots\n": "line 4: conntrack.maxPerCore: Expected `int | null`, got `str`",
    "conntrack:\n  maxPerCore: -1\n": "line 4: conntrack.maxPerCore: -1 must be greater than or equal to 0",
    "nodePortAddresses:\n- 10.0.0.0/8\n- eth0\n":
        "line 5: nodePortAddresses[1]: 'eth0' is not a CIDR: write one, or primary, ",
    "nodePortAddresses: 10.0.0.0/8\n": "line 3: nodePortAddresses: Expected `array`, got `str`",
    "mode: magic\n": "line 3: mode: 'magic' is not a mode: write nftables, iptables, ipvs or userspace",
    "detectLocalMode: BridgeInterface\n":
        "detectLocal.bridgeInterface: '' must name the bridge in detectLocalMode BridgeInterface",
    "clusterCIDR: 10.0.0.0/8,10.1.0.0/16\ndetectLocalMode: ClusterCIDR\n":
        "line 3: clusterCIDR: '10.0.0.0/8,10.1.0.0/16' may hold one",
    "featureGates:\n  Magic: true\n": "line 4: featureGates.Magic: true is not a feature gate kproxy knows",
    "featureGates:\n  LoadBalancerIPMode: false\n": "line 4: featureGates.LoadBalancerIPMode: false cannot be set to false",
    "logging:\n  format: xml\n": "line 4: logging.format: 'xml' is not a log format: write text or json",
    "logging:\n  options: {json: {splitStream: true}}\n":
        "line 4: logging.options.json.splitStream: true needs feature gate",
    "logging:\n  options: {json: {infoBufferSize: big}}\n": "line 4: logging.options.json.infoBufferSize: Expected",
    "metricsBindAddress: 10.0.0.1:99999\n":
        "line 3: metricsBindAddress: '10.0.0.1:99999' must end with a port within 1..65535",
    "showHiddenMetricsForVersion: '1.30'\n":
        "line 3: showHiddenMetricsForVersion: '1.30' must be the release before ours: 1.36",
}  # fmt: skip


@pytest.mark.parametrize("body", WRONG)
def test_wrong_files(tmp_path: Path, body: str) -> None:
    """Each wrong file gives one message that names the file, the line, the field and the mend."""
    with pytest.raises(ConfigError) as error:
        load([_file(tmp_path, body)])

    assert str(tmp_path / "config.yaml") in str(error.value)
    assert WRONG[body] in str(error.value)


@pytest.mark.parametrize(
    "head",
    [
        "",
        "kind: KubeProxyConfiguration\n",
        "apiVersion: v1\nkind: ConfigMap\n",
        HEAD.replace("v1alpha1", "v1alpha2"),
        "- a\n",
    ],
)
def test_not_our_kind_of_file(tmp_path: Path, head: str) -> None:
    """A file of another kind or version is refused in one sentence."""
    with pytest.raises(ConfigError, match=r"config\.yaml: it (says apiVersion .* and kind|must hold one mapping)"):
        load([_file(tmp_path, "", head)])


ODD = (
    "mode: iptables\nmode: nftables\niptables:\n  syncperiod: 1s\nbananas: 3\n"
    "logging:\n  vmodule:\n  - filepattern: a\n    filePattern: a\n---\nx: 1\n"
)


def test_odd_fields_are_warnings(tmp_path: Path) -> None:
    """Unknown and duplicate fields are named with their lines, and the start goes on with the last value."""
    start = load([_file(tmp_path, ODD)])
    findings = [warning.partition("config.yaml: ")[2] for warning in start.warnings]

    assert start.config.mode == "nftables"
    assert findings == [
        "line 4: mode stands twice (first on line 3); the last one counts, take the other out",
        "line 6: iptables.syncperiod is no field of KubeProxyConfiguration v1alpha1; did you mean syncPeriod?",
        "line 7: bananas is no field of KubeProxyConfiguration v1alpha1; it has no effect, take it out",
        "line 10: logging.vmodule[0].filepattern is no field of KubeProxyConfiguration v1alpha1; did you mean filePattern?",
        "line 12: --- begins a second document, which does not count; take it out",
    ]


def test_odd_fields_are_errors_when_strict(tmp_path: Path) -> None:
    """With --strict-config the same findings end the start, all in one message."""
    with pytest.raises(ConfigError, match=r"line 4: mode .*line 7: bananas .*--strict-config"):
        load([_file(tmp_path, ODD), "--strict-config"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--relay-take-bit=14"], "kproxy.relay.takeBit: 14 must be another bit than iptables.masqueradeBit"),
        (["--relay-take-bit=17"], "kproxy.relay.ownBit: 17 must be another bit than kproxy.relay.takeBit"),
        (["--conntrack-mask=0x10000"], "kproxy.relay.takeBit: 16 must not be among the bits of kproxy.conntrackMask"),
        (["--relay-local-port=10246"], "kproxy.relay.localPort: 10246 must be another port than allPort"),
        (["--relay-attempt-timeout=0s"], "kproxy.relay.attemptTimeout: 0s must be greater than 0"),
        (["--relay-drain-timeout=-1s"], "kproxy.relay.drainTimeout: -1s must be greater than or equal to 0"),
        (["--relay-attempts=0"], "kproxy.relay.attempts: 0 must be within 1..64"),
        (["--proxy-mode=ipvs", "--ipvs-scheduler=best"], "ipvs.scheduler: 'best' is no scheduler of IPVS"),
    ],
)
def test_what_a_relay_or_ipvs_cannot_do(flags: list[str], words: str) -> None:
    """A bit of the marks means one thing, whichever mode comes; limits and time-outs are what they can be."""
    with pytest.raises(ConfigError) as raised:
        load(flags)

    assert words in str(raised.value)


def test_the_relays_settings_come_through() -> None:
    """From flag and file to what an opener reads."""
    settings = effective(
        complete(load(["--proxy-mode=userspace", "--relay-tcp-idle-timeout=1h"]), nftables_works=True).config
    )

    assert settings.relay.tcp_idle_timeout.seconds == 3600
    assert settings.relay.attempts == 4
