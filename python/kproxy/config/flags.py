# SPDX-License-Identifier: Apache-2.0
"""Every flag, as data: upstream's of kube-proxy 1.37, and ours.

A flag that has ``fields`` writes its value into those fields of the configuration. Without ``--config`` all of them
count; with it only the ones marked ``beats_file`` do, as upstream. Default values are not repeated here: a flag that has
fields has the default of its first field, unless ``default`` says otherwise.
"""

from typing import Any, Final, Literal

import msgspec

from kproxy.config.durations import Duration

Kind = Literal[
    "string",
    "bool",
    "int32",
    "float32",
    "uint32",
    "duration",
    "list",
    "gates",
    "vmodule",
    "ip",
    "ipport",
    "quantity",
    "version",
]


class Flag(msgspec.Struct, frozen=True):
    """One flag. ``default`` counts where it has no field. ``deprecated`` is a clause for the warning."""

    name: str
    kind: Kind
    help: str
    fields: tuple[str, ...] = ()
    default: Any = None
    beats_file: bool = False
    short: str = ""
    deprecated: str = ""


class Group(msgspec.Struct, frozen=True):
    """A heading of ``--help``."""

    title: str
    flags: tuple[Flag, ...]


_WITHOUT_EFFECT: Final = "Accepted for Windows nodes' sake, without effect on Linux."

_START: Final = Group(
    "What to do",
    (
        Flag(
            "config",
            "string",
            "Path of a KubeProxyConfiguration file. It is followed: what can change live does.",
            default="",
        ),
        Flag("write-config-to", "string", "Write the configuration in force to this file, as YAML, and exit.", default=""),
        Flag("cleanup", "bool", "Remove the rules of kproxy and of kube-proxy, and exit.", default=False),
        Flag(
            "init-only",
            "bool",
            "Do what wants full privileges (sysctls), and exit; then run with CAP_NET_ADMIN alone.",
            default=False,
        ),
        Flag("version", "version", "Print the version and exit; --version=raw prints all parts of it.", default="false"),
        Flag("strict-config", "bool", "Make unknown and duplicate fields of the configuration file errors.", default=False),
        Flag("feature-gates", "gates", "Feature gates as NAME=true|false, separated by commas.", ("featureGates",)),
    ),
)
_API: Final = Group(
    "API server",
    (
        Flag("kubeconfig", "string", "Path of a kubeconfig; empty means in-cluster credentials.",
             ("clientConnection.kubeconfig",)),
        Flag("master", "string", "Address of the API server; overrides the one in the kubeconfig.", default=""),
        Flag("kube-api-content-type", "string", "Content type of requests to the API server.",
             ("clientConnection.contentType",)),
        Flag("kube-api-qps", "float32", "Requests a second to the API server.", ("clientConnection.qps",)),
        Flag("kube-api-burst", "int32", "Requests to the API server that may come at once.", ("clientConnection.burst",)),
        Flag("config-sync-period", "duration", "How often everything read from the API server is looked at again.",
             ("configSyncPeriod",)),
        Flag("hostname-override", "string", "Name of this node, instead of the host name.", default="", beats_file=True),
        Flag("manifests", "string", "Read Services and EndpointSlices from this directory instead of an API server.",
             ("kproxy.manifests",), beats_file=True),
    ),
)  # fmt: skip
_SERVERS: Final = Group(
    "Health and metrics",
    (
        Flag("bind-address", "ip",
             "This node's own address and primary family; the unspecified address means the Node's. Nothing is bound to it.",
             ("bindAddress",)),
        Flag("bind-address-hard-fail", "bool", "End when the health or metrics address cannot be bound.",
             ("bindAddressHardFail",)),
        Flag("healthz-bind-address", "ipport", "Address and port of the health server.", ("healthzBindAddress",)),
        Flag("metrics-bind-address", "ipport", "Address and port of the metrics server.", ("metricsBindAddress",)),
        Flag("healthz-port", "int32", "Port of the health server; 0 for none.",
             default=10256, deprecated="use --healthz-bind-address"),
        Flag("metrics-port", "int32", "Port of the metrics server.", default=10249, deprecated="use --metrics-bind-address"),
        Flag("profiling", "bool", "Serve profiles on the metrics server.", ("enableProfiling",)),
        Flag("show-hidden-metrics-for-version", "string",
             "Show the metrics that were hidden in this release; only the one before ours.",
             ("showHiddenMetricsForVersion",)),
        Flag("metrics-max-services", "int32", "How many Services get traffic series of their own.",
             ("kproxy.metricsMaxServices",), beats_file=True),
        Flag("metrics-max-endpoints", "int32", "How many endpoints get traffic series of their own.",
             ("kproxy.metricsMaxEndpoints",), beats_file=True),
        Flag("events-per-minute", "int32", "How many Kubernetes Events may be sent in a minute; 0 for none.",
             ("kproxy.eventsPerMinute",), beats_file=True),
    ),
)  # fmt: skip
_MODES: Final = Group(
    "Modes",
    (
        Flag("proxy-mode", "string",
             "nftables, iptables, ipvs or userspace; empty means nftables where it works, else iptables.",
             ("mode",)),
        Flag("masquerade-all", "bool", "Masquerade everything sent to a ClusterIP.",
             ("iptables.masqueradeAll", "nftables.masqueradeAll")),
        Flag("iptables-masquerade-bit", "int32",
             "Bit of the packet mark (0..31) that asks for masquerading in iptables and ipvs mode.",
             ("iptables.masqueradeBit",)),
        Flag("iptables-localhost-nodeports", "bool", "Serve NodePorts on 127.0.0.0/8 in iptables mode.",
             ("iptables.localhostNodePorts",)),
        Flag("iptables-sync-period", "duration", "How often the kernel's rules are verified, in every mode but ipvs.",
             ("iptables.syncPeriod", "nftables.syncPeriod")),
        Flag("iptables-min-sync-period", "duration", "Least time between two changes of the rules, in every mode but ipvs.",
             ("iptables.minSyncPeriod", "nftables.minSyncPeriod")),
        Flag("ipvs-sync-period", "duration", "How often IPVS is verified.", ("ipvs.syncPeriod",)),
        Flag("ipvs-min-sync-period", "duration", "Least time between two changes of IPVS.",
             ("ipvs.minSyncPeriod",), default=Duration.of(1)),
        Flag("ipvs-scheduler", "string", "IPVS scheduler; empty means rr.", ("ipvs.scheduler",)),
        Flag("ipvs-exclude-cidrs", "list", "Virtual servers in these CIDRs are never touched.", ("ipvs.excludeCIDRs",)),
        Flag("ipvs-strict-arp", "bool", "Set arp_ignore to 1 and arp_announce to 2.", ("ipvs.strictARP",)),
        Flag("ipvs-tcp-timeout", "duration", "Time-out of idle IPVS TCP connections; 0 leaves the kernel's.",
             ("ipvs.tcpTimeout",)),
        Flag("ipvs-tcpfin-timeout", "duration", "Time-out of IPVS TCP connections after a FIN; 0 leaves the kernel's.",
             ("ipvs.tcpFinTimeout",)),
        Flag("ipvs-udp-timeout", "duration", "Time-out of IPVS UDP flows; 0 leaves the kernel's.", ("ipvs.udpTimeout",)),
    ),
)  # fmt: skip
_RELAY: Final = Group(
    "The relay of userspace mode",
    (
        Flag("relay-workers", "int32", "Threads; 0 means one a CPU, four at most.",
             ("kproxy.relay.workers",), beats_file=True),
        Flag("relay-all-port", "int32", "Where it listens for clients whom every endpoint may serve.",
             ("kproxy.relay.allPort",), beats_file=True),
        Flag("relay-local-port", "int32", "Where it listens for clients whom only endpoints on this node may serve.",
             ("kproxy.relay.localPort",), beats_file=True),
        Flag("relay-take-bit", "int32", "Bit of packet and conntrack mark (0..31) for what goes to the relay.",
             ("kproxy.relay.takeBit",), beats_file=True),
        Flag("relay-own-bit", "int32", "Bit of packet and conntrack mark (0..31) for what the relay sends.",
             ("kproxy.relay.ownBit",), beats_file=True),
        Flag("relay-keep-source", "bool", "Let endpoints on this node see the client's own address.",
             ("kproxy.relay.keepSource",), beats_file=True),
        Flag("relay-max-connections", "int32", "Connections at one time; one more is refused at once.",
             ("kproxy.relay.maxConnections",), beats_file=True),
        Flag("relay-attempts", "int32", "Endpoints that are tried for one connection, each at most once.",
             ("kproxy.relay.attempts",), beats_file=True),
        Flag("relay-attempt-timeout", "duration", "An endpoint's time to take a connection; then another one is tried.",
             ("kproxy.relay.attemptTimeout",), beats_file=True),
        Flag("relay-dial-timeout", "duration", "The time that all attempts have together.",
             ("kproxy.relay.dialTimeout",), beats_file=True),
        Flag("relay-half-closed-timeout", "duration", "Silence after which a connection ends that one side has closed.",
             ("kproxy.relay.halfClosedTimeout",), beats_file=True),
        Flag("relay-tcp-idle-timeout", "duration", "Silence after which any TCP connection ends; 0 for never.",
             ("kproxy.relay.tcpIdleTimeout",), beats_file=True),
        Flag("relay-udp-idle-timeout", "duration", "Silence after which a UDP flow ends.",
             ("kproxy.relay.udpIdleTimeout",), beats_file=True),
        Flag("relay-user-timeout", "duration", "How long sent bytes may stay unconfirmed.",
             ("kproxy.relay.userTimeout",), beats_file=True),
        Flag("relay-drain-timeout", "duration",
             "How long a connection may live on when its endpoint has left the Service; 0 for no limit.",
             ("kproxy.relay.drainTimeout",), beats_file=True),
        Flag("relay-leave-timeout", "duration",
             "How long connections may live on when the relay leaves, for another mode or at the end of the process.",
             ("kproxy.relay.leaveTimeout",), beats_file=True),
    ),
)  # fmt: skip
_NODE: Final = Group(
    "This node",
    (
        Flag("detect-local-mode", "string",
             "How local pods are told: ClusterCIDR (default), NodeCIDR, BridgeInterface or InterfaceNamePrefix.",
             ("detectLocalMode",)),
        Flag("pod-bridge-interface", "string", "The pods' bridge, for BridgeInterface.", ("detectLocal.bridgeInterface",)),
        Flag("pod-interface-name-prefix", "string", "How the pods' interfaces begin, for InterfaceNamePrefix.",
             ("detectLocal.interfaceNamePrefix",)),
        Flag("cluster-cidr", "string", "The pods' range, or one of each family with a comma between, for ClusterCIDR.",
             ("clusterCIDR",)),
        Flag("nodeport-addresses", "list",
             "Where NodePorts are served: CIDRs, primary, localhost or all. Default: primary in nftables mode, else all.",
             ("nodePortAddresses",)),
        Flag("oom-score-adj", "int32", "The process's oom_score_adj (-1000..1000).", ("oomScoreAdj",)),
        Flag("conntrack-max-per-core", "int32", "Tracked connections per CPU; 0 leaves the kernel's limit.",
             ("conntrack.maxPerCore",)),
        Flag("conntrack-min", "int32", "Least number of tracked connections, unless conntrack-max-per-core is 0.",
             ("conntrack.min",)),
        Flag("conntrack-tcp-timeout-established", "duration", "Time-out of idle TCP connections; 0 leaves the kernel's.",
             ("conntrack.tcpEstablishedTimeout",)),
        Flag("conntrack-tcp-timeout-close-wait", "duration",
             "Time-out of TCP connections in CLOSE_WAIT; 0 leaves the kernel's.",
             ("conntrack.tcpCloseWaitTimeout",)),
        Flag("conntrack-tcp-be-liberal", "bool", "Track TCP packets outside the window too.", ("conntrack.tcpBeLiberal",)),
        Flag("conntrack-udp-timeout", "duration", "Time-out of UDP flows without an answer; 0 leaves the kernel's.",
             ("conntrack.udpTimeout",)),
        Flag("conntrack-udp-timeout-stream", "duration", "Time-out of UDP flows with answers; 0 leaves the kernel's.",
             ("conntrack.udpStreamTimeout",)),
        Flag("count-bytes", "bool", "Count packets and bytes per endpoint, for a look-up a packet.",
             ("kproxy.countBytes",), beats_file=True),
        Flag("conntrack-mask", "uint32",
             "Bits of the conntrack mark kproxy may write to count bytes per Service, such as 0xff0000; 0 for none.",
             ("kproxy.conntrackMask",), beats_file=True),
    ),
)  # fmt: skip
_LOGGING: Final = Group(
    "Logs",
    (
        Flag("v", "uint32", "Log level; higher says more.", ("logging.verbosity",), beats_file=True, short="v"),
        Flag("vmodule", "vmodule", "Log levels by file, as PATTERN=N, separated by commas.",
             ("logging.vmodule",), beats_file=True),
        Flag("logging-format", "string", "text or json.", ("logging.format",), beats_file=True),
        Flag("log-flush-frequency", "duration", "Longest time between two flushes of the log.",
             ("logging.flushFrequency",), beats_file=True),
        Flag("log-text-split-stream", "bool", "Errors to stderr, the rest to stdout (needs gate LoggingAlphaOptions).",
             ("logging.options.text.splitStream",), beats_file=True),
        Flag("log-text-info-buffer-size", "quantity", "Buffer for what is no error (needs gate LoggingAlphaOptions).",
             ("logging.options.text.infoBufferSize",), beats_file=True),
        Flag("log-json-split-stream", "bool", "Errors to stderr, the rest to stdout (needs gate LoggingAlphaOptions).",
             ("logging.options.json.splitStream",), beats_file=True),
        Flag("log-json-info-buffer-size", "quantity", "Buffer for what is no error (needs gate LoggingAlphaOptions).",
             ("logging.options.json.infoBufferSize",), beats_file=True),
    ),
)  # fmt: skip
_OTHER: Final = Group(
    "Without effect here",
    (
        Flag("boot-id-file", "string", "Accepted because upstream accepts it.", default=""),
        Flag("machine-id-file", "string", "Accepted because upstream accepts it.", default=""),
        Flag("windows-service", "bool", _WITHOUT_EFFECT, ("windowsRunAsService",)),
        Flag("source-vip", "string", _WITHOUT_EFFECT, ("winkernel.sourceVip",)),
        Flag("network-name", "string", _WITHOUT_EFFECT, ("winkernel.networkName",)),
        Flag("enable-dsr", "bool", _WITHOUT_EFFECT, ("winkernel.enableDSR",)),
        Flag("root-hnsendpoint-name", "string", _WITHOUT_EFFECT, ("winkernel.rootHnsEndpointName",), default="cbr0"),
        Flag("forward-healthcheck-vip", "bool", _WITHOUT_EFFECT, ("winkernel.forwardHealthCheckVip",)),
    ),
)  # fmt: skip

GROUPS: Final = (_START, _API, _SERVERS, _MODES, _RELAY, _NODE, _LOGGING, _OTHER)
FLAGS: Final[dict[str, Flag]] = {flag.name: flag for group in GROUPS for flag in group.flags}
