# SPDX-License-Identifier: Apache-2.0
"""The command line is upstream's."""

import re

import pytest

from kproxy.config import paths
from kproxy.config.command_line import default_of, parser, read_command_line
from kproxy.config.defaults import with_defaults
from kproxy.config.durations import Duration
from kproxy.config.flags import FLAGS
from kproxy.config.loading import load
from kproxy.config.schema import KubeProxyConfiguration, VModule
from kproxy.table.errors import ConfigError

# Name: default, as `kube-proxy --help` of 1.37 shows it ("" where it shows none).
UPSTREAM = {
    "bind-address": "0.0.0.0",
    "bind-address-hard-fail": "false",
    "boot-id-file": "",
    "cleanup": "false",
    "cluster-cidr": "",
    "config": "",
    "config-sync-period": "15m0s",
    "conntrack-max-per-core": "32768",
    "conntrack-min": "131072",
    "conntrack-tcp-be-liberal": "false",
    "conntrack-tcp-timeout-close-wait": "1h0m0s",
    "conntrack-tcp-timeout-established": "24h0m0s",
    "conntrack-udp-timeout": "0s",
    "conntrack-udp-timeout-stream": "0s",
    "detect-local-mode": "",
    "feature-gates": "",
    "healthz-bind-address": "0.0.0.0:10256",
    "healthz-port": "10256",
    "hostname-override": "",
    "init-only": "false",
    "iptables-localhost-nodeports": "true",
    "iptables-masquerade-bit": "14",
    "iptables-min-sync-period": "1s",
    "iptables-sync-period": "30s",
    "ipvs-exclude-cidrs": "",
    "ipvs-min-sync-period": "1s",
    "ipvs-scheduler": "",
    "ipvs-strict-arp": "false",
    "ipvs-sync-period": "30s",
    "ipvs-tcp-timeout": "0s",
    "ipvs-tcpfin-timeout": "0s",
    "ipvs-udp-timeout": "0s",
    "kube-api-burst": "10",
    "kube-api-content-type": "application/vnd.kubernetes.protobuf",
    "kube-api-qps": "5.0",
    "kubeconfig": "",
    "log-flush-frequency": "5s",
    "log-json-info-buffer-size": "0",
    "log-json-split-stream": "false",
    "log-text-info-buffer-size": "0",
    "log-text-split-stream": "false",
    "logging-format": "text",
    "machine-id-file": "",
    "masquerade-all": "false",
    "master": "",
    "metrics-bind-address": "127.0.0.1:10249",
    "metrics-port": "10249",
    "nodeport-addresses": "",
    "oom-score-adj": "-999",
    "pod-bridge-interface": "",
    "pod-interface-name-prefix": "",
    "profiling": "false",
    "proxy-mode": "",
    "show-hidden-metrics-for-version": "",
    "v": "0",
    "version": "false",
    "vmodule": "",
    "write-config-to": "",
}


@pytest.mark.parametrize("name", UPSTREAM)
def test_every_upstream_flag_exists(name: str) -> None:
    """Each of upstream's flags is there and its default shows in the help."""
    default = default_of(FLAGS[name])
    shown = (
        str(default).lower()
        if isinstance(default, bool)
        else ",".join(default)
        if isinstance(default, tuple | dict)
        else str(default)
    )

    assert shown == UPSTREAM[name]


def test_every_field_of_a_flag_exists() -> None:
    """A flag writes only into fields that the schema has."""
    config = with_defaults(KubeProxyConfiguration())
    for flag in FLAGS.values():
        for path in flag.fields:
            paths.get(config, path)


def test_help_names_every_flag() -> None:
    """The help lists each flag once, under its heading."""
    text = parser().format_help()
    for name in FLAGS:
        assert len(re.findall(rf"--{name}(?![\w-])", text)) >= 1, name


def test_syntax() -> None:
    """Values after a space or =, underscores, bare booleans, values that begin with a dash, and lists that grow."""
    given = read_command_line(
        ["--proxy_mode", "nftables", "--masquerade-all", "--bind-address-hard-fail=false", "--oom-score-adj", "-5",
         "--config-sync-period", "-1s", "--nodeport-addresses", "primary,10.0.0.0/8", "--nodeport-addresses=127.0.0.0/8",
         "-v4", "--vmodule", "loop=5,store=2", "--feature-gates=A=true", "--feature-gates", "B=false",
         "--conntrack-mask=0xff00", "--metrics-bind-address="]
    ).given  # fmt: skip

    assert given == {
        "proxy-mode": "nftables",
        "masquerade-all": True,
        "bind-address-hard-fail": False,
        "oom-score-adj": -5,
        "config-sync-period": Duration.of(-1),
        "nodeport-addresses": ("primary", "10.0.0.0/8", "127.0.0.0/8"),
        "v": 4,
        "vmodule": (VModule(file_pattern="loop", verbosity=5), VModule(file_pattern="store", verbosity=2)),
        "feature-gates": {"A": True, "B": False},
        "conntrack-mask": 0xFF00,
    }


@pytest.mark.parametrize("argument", [["-v", "3"], ["-v=3"], ["-v3"], ["--v=3"], ["--v", "3"]])
def test_log_level(argument: list[str]) -> None:
    """The log level is told in any of pflag's ways."""
    assert read_command_line(argument).given == {"v": 3}


WRONG = {
    "--no-such-flag": "flag --no-such-flag is not known: kproxy --help lists all flags",
    "--proxy-mod=iptables": "flag --proxy-mod is not known: did you mean --proxy-mode?",
    "--proxy": "flag --proxy is not known: kproxy --help lists all flags",
    "-x": "flag -x is not known: kproxy --help lists all flags",
    "nftables": "argument 'nftables' belongs to no flag: take it out",
    "--masquerade-all false": "argument 'false' belongs to no flag: take it out",
    "--proxy-mode": "--proxy-mode wants a value: --proxy-mode=STRING",
    "--masquerade-all=yes": "--masquerade-all: 'yes' is neither true nor false",
    "--conntrack-min=many": "--conntrack-min: 'many' is not a whole number",
    "--conntrack-min=3000000000": "--conntrack-min: 3000000000 is not within -2147483648..2147483647",
    "--kube-api-qps=fast": "--kube-api-qps: 'fast' is not a number",
    "--ipvs-sync-period=30": "--ipvs-sync-period: '30' is not a duration: write a number with a unit, "
    "such as 500ms, 30s, 15m or 1h30m",
    "--bind-address=eth0": "--bind-address: 'eth0' is not an IP address",
    "--healthz-bind-address=localhost:80": "--healthz-bind-address: 'localhost' is not an IP address",
    "--metrics-bind-address=1:2:3": "--metrics-bind-address: '1:2:3' is not an IP:PORT: write 10.0.0.1:80 or [fd00::1]:80",
    "--feature-gates=KubeProxyIPVS": "--feature-gates: 'KubeProxyIPVS' is not NAME=true or NAME=false",
    "--feature-gates=Magic=true": "1 setting is wrong in the flags:\n  --feature-gates: featureGates.Magic: true "
    "is not a feature gate kproxy knows; take it out",
    "--vmodule=loop": "--vmodule: 'loop' is not PATTERN=N",
    "--log-json-info-buffer-size=big": "--log-json-info-buffer-size: 'big' is not a quantity, such as 512Ki or 1M",
    "--conntrack-mask=-1": "--conntrack-mask: -1 is not within 0..4294967295",
    "--config=/nowhere.yaml": "--config /nowhere.yaml: No such file or directory: "
    "name a KubeProxyConfiguration file that can be read",
    "--proxy-mode=kernelspace": "1 setting is wrong in the flags:\n  --proxy-mode: mode: 'kernelspace' is not a mode: "
    "write nftables, iptables, ipvs or userspace, or leave it empty",
    "--iptables-sync-period=10ms": "1 setting is wrong in the flags:\n  --iptables-sync-period: iptables.syncPeriod: 10ms "
    "must be greater than or equal to minSyncPeriod, which is 1s",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_flags(arguments: str) -> None:
    """Each wrong command line gives one sentence that names the flag and the mend."""
    with pytest.raises(ConfigError) as error:
        load(arguments.split(" "))

    assert str(error.value) == WRONG[arguments]


def test_a_blank_name() -> None:
    """A host name of blanks is refused, as upstream does."""
    with pytest.raises(ConfigError, match=r"--hostname-override: it holds nothing but blanks: give the Node's name"):
        load(["--hostname-override", "  "])


def test_all_wrong_settings_at_once() -> None:
    """Settings that cannot be used are all named in one message."""
    with pytest.raises(ConfigError) as error:
        load(["--proxy-mode=x", "--oom-score-adj=2000", "--cluster-cidr=10", "--detect-local-mode=ClusterCIDR"])

    assert re.findall(r"^  (--[a-z-]+):", str(error.value), re.MULTILINE) == [
        "--proxy-mode",
        "--oom-score-adj",
        "--cluster-cidr",
    ]
