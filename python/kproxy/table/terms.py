# SPDX-License-Identifier: Apache-2.0
"""The closed sets of words that the whole project shares."""

import enum


class Family(enum.StrEnum):
    """An address family. Every dataplane and every route has exactly one."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


class Protocol(enum.StrEnum):
    """A transport protocol a Service port may have."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class Mode(enum.StrEnum):
    """How a node forwards Service traffic."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"
    IPVS = "ipvs"
    USERSPACE = "userspace"


class FrontendKind(enum.StrEnum):
    """Which field of a Service an address comes from."""

    CLUSTER_IP = "ClusterIP"
    EXTERNAL_IP = "ExternalIP"
    LOAD_BALANCER_IP = "LoadBalancerIP"
    NODE_PORT = "NodePort"


class Role(enum.StrEnum):
    """Which traffic policy governs a frontend: *internal* for the ClusterIP, *external* for all others."""

    INTERNAL = "internal"
    EXTERNAL = "external"


class Client(enum.StrEnum):
    """Who dials, as far as a verdict depends on it.

    The first that fits counts: a dial of a loopback address, a pod on this node, this node itself, everybody else.
    """

    LOOPBACK = "loopback"
    POD = "pod"
    NODE = "node"
    OUTSIDE = "outside"


class Action(enum.StrEnum):
    """What happens to the first packet of a connection."""

    BALANCE = "balance"
    REJECT = "reject"
    DROP = "drop"
    PASS = "pass"  # not ours: no rule of kproxy touches the packet


class EndpointSet(enum.StrEnum):
    """Which of a route's two endpoint sets a verdict balances over."""

    ALL = "all"
    LOCAL = "local"


class Method(enum.StrEnum):
    """How an endpoint is chosen; names of the IPVS schedulers, plus ``random``."""

    RANDOM = "random"
    RR = "rr"
    WRR = "wrr"
    LC = "lc"
    WLC = "wlc"
    SH = "sh"
    DH = "dh"
    MH = "mh"
    SED = "sed"
    NQ = "nq"
    LBLC = "lblc"
    LBLCR = "lblcr"
    FO = "fo"
    OVF = "ovf"
