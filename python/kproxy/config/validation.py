# SPDX-License-Identifier: Apache-2.0
"""What a configuration may not say: every problem at once, each by the path of its field.

The rules are those of upstream's ``pkg/proxy/apis/config/validation`` (1.37) and, for logging, of component-base. They judge
the file as it stands: no default is put in here. Whether addresses fit the *node's* families is not known yet; that is
``family_checks``.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from kproxy.config import feature_gates, paths
from kproxy.config.addresses import address_or_none, family_of_network, network_or_none, split_port
from kproxy.config.durations import Duration
from kproxy.config.effective import DETECT_LOCAL_MODES, section_of
from kproxy.config.node_ports import KEYWORDS
from kproxy.config.schema import KubeProxyConfiguration
from kproxy.table.errors import ConfigError
from kproxy.table.terms import Method, Mode

COMPATIBLE_MINOR: Final = 37  # the upstream release whose behaviour and metrics we keep: 1.37
LOUDEST: Final = 2**31 - 1  # log levels are signed 32-bit numbers in Go


class Problem(msgspec.Struct, frozen=True):
    """One wrong field: its path in the v1alpha1 file, what stands there, and a clause that says why and how to mend it."""

    field: str
    value: Any
    reason: str

    def __str__(self) -> str:
        """Return one sentence."""
        if isinstance(self.value, bool):
            shown = str(self.value).lower()
        else:
            shown = str(self.value) if isinstance(self.value, int) else repr(self.value)
        return f"{self.field}: {shown} {self.reason}"


def validate(config: KubeProxyConfiguration) -> list[Problem]:
    """Return all problems, in the order of the rules; none: the configuration may be used."""
    return [problem for rule in _RULES for problem in rule(config)]


def require_valid(config: KubeProxyConfiguration, origin: str, places: Mapping[str, str]) -> None:
    """Raise one ConfigError that lists every problem of a configuration from ``origin`` (a file, or "the flags").

    ``places`` tells by field path where it was set: ``line 7``, ``--proxy-mode``.
    """
    problems = validate(config)
    if problems:
        lines = "".join(f"\n  {_placed(problem, places)}" for problem in problems)
        count = "1 setting is wrong" if len(problems) == 1 else f"{len(problems)} settings are wrong"
        raise ConfigError(f"{count} in {origin}:{lines}")


def _placed(problem: Problem, places: Mapping[str, str]) -> str:
    place = next((places[path] for path in paths.above(problem.field) if path in places), "")
    return f"{place}: {problem}" if place else str(problem)


def _gates(config: KubeProxyConfiguration) -> Iterator[Problem]:
    for name, value in config.feature_gates.items():
        complaint = feature_gates.complaint(name, value=value)
        if complaint:
            yield Problem(f"featureGates.{name}", value, complaint)


def _mode(config: KubeProxyConfiguration) -> Iterator[Problem]:
    if config.mode and config.mode not in set(Mode):
        yield Problem("mode", config.mode, "is not a mode: write nftables, iptables, ipvs or userspace, or leave it empty")
    if config.mode == Mode.IPVS and not feature_gates.enabled(config.feature_gates, "KubeProxyIPVS"):
        yield Problem("mode", config.mode, "needs feature gate KubeProxyIPVS, which is set to false")


def _periods(config: KubeProxyConfiguration) -> Iterator[Problem]:
    section = section_of(config.mode)
    longest: Duration = paths.get(config, f"{section}.syncPeriod")
    shortest: Duration = paths.get(config, f"{section}.minSyncPeriod")
    if longest <= 0:
        yield Problem(f"{section}.syncPeriod", longest, "must be greater than 0")
    if shortest < 0:
        yield Problem(f"{section}.minSyncPeriod", shortest, "must be greater than or equal to 0")
    if shortest > longest:
        yield Problem(
            f"{section}.syncPeriod", longest, f"must be greater than or equal to minSyncPeriod, which is {shortest}"
        )
    if config.config_sync_period <= 0:
        yield Problem("configSyncPeriod", config.config_sync_period, "must be greater than 0")


def _numbers(config: KubeProxyConfiguration) -> Iterator[Problem]:
    bits = ["iptables.masqueradeBit", *(["nftables.masqueradeBit"] if config.mode == Mode.NFTABLES else [])]
    ranges: dict[str, tuple[int, int]] = dict.fromkeys(bits, (0, 31)) | {"oomScoreAdj": (-1000, 1000)}
    for path, (low, high) in ranges.items():
        value = paths.get(config, path)
        if value is not None and not low <= value <= high:
            yield Problem(path, value, f"must be within {low}..{high}")
    not_negative = [
        "conntrack.maxPerCore",
        "conntrack.min",
        "conntrack.tcpEstablishedTimeout",
        "conntrack.tcpCloseWaitTimeout",
        "conntrack.udpTimeout",
        "conntrack.udpStreamTimeout",
        "clientConnection.burst",
        "kproxy.metricsMaxServices",
        "kproxy.metricsMaxEndpoints",
        "kproxy.eventsPerMinute",
    ]
    if config.mode == Mode.IPVS:
        not_negative += ["ipvs.tcpTimeout", "ipvs.tcpFinTimeout", "ipvs.udpTimeout"]
    for path in not_negative:
        value = paths.get(config, path)
        if value is not None and value < 0:
            yield Problem(path, value, "must be greater than or equal to 0")


def _servers(config: KubeProxyConfiguration) -> Iterator[Problem]:
    if address_or_none(config.bind_address) is None:
        yield Problem("bindAddress", config.bind_address, "is not an IP address: write one without a port, such as 0.0.0.0")
    for path in ("healthzBindAddress", "metricsBindAddress"):
        text = paths.get(config, path)
        if not text and path == "healthzBindAddress":
            continue  # no health server
        try:
            host, port = split_port(text)
        except ValueError:
            yield Problem(path, text, "must be IP:PORT, such as 0.0.0.0:10256 or [::]:10256")
            continue
        if address_or_none(host) is None:
            yield Problem(path, text, f"must begin with an IP address, which {host!r} is not")
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            yield Problem(path, text, "must end with a port within 1..65535")
    hidden = config.show_hidden_metrics_for_version
    if hidden and hidden != f"1.{COMPATIBLE_MINOR - 1}":
        yield Problem("showHiddenMetricsForVersion", hidden, f"must be the release before ours: 1.{COMPATIBLE_MINOR - 1}")


def _prefixes(config: KubeProxyConfiguration) -> Iterator[Problem]:
    for index, text in enumerate(config.node_port_addresses):
        if text not in KEYWORDS and network_or_none(text) is None:
            yield Problem(f"nodePortAddresses[{index}]", text, "is not a CIDR: write one, or primary, localhost or all")
    if config.mode == Mode.IPVS:
        if config.ipvs.scheduler and config.ipvs.scheduler not in set(Method) - {Method.RANDOM}:
            schedulers = ", ".join(method for method in Method if method is not Method.RANDOM)
            yield Problem("ipvs.scheduler", config.ipvs.scheduler, f"is no scheduler of IPVS: write one of {schedulers}")
        for index, text in enumerate(config.ipvs.exclude_cidrs):
            if network_or_none(text) is None:
                yield Problem(f"ipvs.excludeCIDRs[{index}]", text, "is not a CIDR, such as 10.0.0.0/8")


def _detect_local(config: KubeProxyConfiguration) -> Iterator[Problem]:
    mode = config.detect_local_mode
    if mode and mode not in DETECT_LOCAL_MODES:
        yield Problem(
            "detectLocalMode",
            mode,
            f"is not a way to tell local pods: write {', '.join(DETECT_LOCAL_MODES)}, or leave it empty",
        )
    if mode == "BridgeInterface" and not config.detect_local.bridge_interface:
        yield Problem("detectLocal.bridgeInterface", "", "must name the bridge in detectLocalMode BridgeInterface")
    if mode == "InterfaceNamePrefix" and not config.detect_local.interface_name_prefix:
        yield Problem("detectLocal.interfaceNamePrefix", "", "must not be empty in detectLocalMode InterfaceNamePrefix")
    if mode == "ClusterCIDR":
        yield from _cluster_cidrs(config)


def _cluster_cidrs(config: KubeProxyConfiguration) -> Iterator[Problem]:
    networks = []
    for text in config.cluster_cidrs:
        network = network_or_none(text)
        if network is None:
            yield Problem(
                "clusterCIDR", text, "is not a CIDR: write 10.244.0.0/16, or one of each family with a comma between"
            )
        else:
            networks.append(network)
    families = {family_of_network(network) for network in networks}
    if len(config.cluster_cidrs) > 2 or len(families) < len(networks):
        yield Problem("clusterCIDR", config.cluster_cidr, "may hold one CIDR, or one of each family, and no more")


def _logging(config: KubeProxyConfiguration) -> Iterator[Problem]:
    logging = config.logging
    if logging.format not in {"text", "json"}:
        yield Problem("logging.format", logging.format, "is not a log format: write text or json")
    if logging.verbosity > LOUDEST:
        yield Problem("logging.verbosity", logging.verbosity, f"must be at most {LOUDEST}")
    if not feature_gates.enabled(config.feature_gates, "LoggingAlphaOptions"):
        for path in paths.changed(type(logging.options)(), logging.options):
            value = paths.get(logging.options, path)
            yield Problem(f"logging.options.{path}", value, "needs feature gate LoggingAlphaOptions=true")


def _vmodule(config: KubeProxyConfiguration) -> Iterator[Problem]:
    levels = config.logging.vmodule
    if levels and config.logging.format != "text":
        shown = ",".join(f"{item.file_pattern}={item.verbosity}" for item in levels)
        yield Problem(
            "logging.vmodule", shown, "counts for the text format only: take it out, or set logging.format to text"
        )
    for index, item in enumerate(levels):
        path = f"logging.vmodule[{index}]"
        if not item.file_pattern:
            yield Problem(f"{path}.filePattern", "", "must not be empty")
        if set(item.file_pattern) & set("=,"):
            yield Problem(f"{path}.filePattern", item.file_pattern, "must not contain = or a comma")
        if item.verbosity > LOUDEST:
            yield Problem(f"{path}.verbosity", item.verbosity, f"must be at most {LOUDEST}")


def _relay(config: KubeProxyConfiguration) -> Iterator[Problem]:
    relay, above = config.kproxy.relay, "kproxy.relay"
    ranges = {
        "workers": (0, 64),
        "allPort": (1, 65535),
        "localPort": (1, 65535),
        "takeBit": (0, 31),
        "ownBit": (0, 31),
        "maxConnections": (1, LOUDEST),
        "attempts": (1, 64),
    }
    for name, (low, high) in ranges.items():
        value = paths.get(relay, name)
        if not low <= value <= high:
            yield Problem(f"{above}.{name}", value, f"must be within {low}..{high}")
    for path, value in paths.leaves(relay):
        endless = path in {"tcpIdleTimeout", "drainTimeout", "leaveTimeout"}
        if isinstance(value, Duration) and (value < 0 if endless else value <= 0):
            yield Problem(f"{above}.{path}", value, f"must be greater than {'or equal to ' if endless else ''}0")
    if relay.all_port == relay.local_port:
        yield Problem(f"{above}.localPort", relay.local_port, "must be another port than allPort")
    yield from _relay_bits(config)


def _relay_bits(config: KubeProxyConfiguration) -> Iterator[Problem]:
    """See that no bit of the marks means two things, whichever mode is in force or will be."""
    taken: dict[int, str] = {}
    for path in ("iptables.masqueradeBit", "nftables.masqueradeBit"):
        taken.setdefault(paths.get(config, path), path)
    for path in ("kproxy.relay.takeBit", "kproxy.relay.ownBit"):
        bit = paths.get(config, path)
        if bit in taken:
            yield Problem(path, bit, f"must be another bit than {taken[bit]}: choose one that nobody else on the node uses")
        elif 0 <= bit <= 31 and config.kproxy.conntrack_mask >> bit & 1:
            yield Problem(path, bit, "must not be among the bits of kproxy.conntrackMask")
        taken.setdefault(bit, path)


_RULES: Final[tuple[Callable[[KubeProxyConfiguration], Iterator[Problem]], ...]] = (
    _gates,
    _mode,
    _periods,
    _numbers,
    _servers,
    _prefixes,
    _detect_local,
    _relay,
    _logging,
    _vmodule,
)
