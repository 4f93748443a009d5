# SPDX-License-Identifier: Apache-2.0
"""``KubeProxyConfiguration`` of ``kubeproxy.config.k8s.io/v1alpha1``, field for field.

The names and types are those of upstream's ``k8s.io/kube-proxy/config/v1alpha1/types.go`` (1.37). A field whose zero
differs from "not set" is ``None`` until ``defaults`` fills it; for every other one the zero *is* "not set", as in Go.

One section is ours: ``kproxy``. Upstream knows no such field, so its strict reading fails, its lenient reading logs a
warning and goes on: the same file serves both proxies.
"""

from typing import Annotated, Final

import msgspec

from kproxy.config.durations import Duration

API_VERSION: Final = "kubeproxy.config.k8s.io/v1alpha1"
KIND: Final = "KubeProxyConfiguration"

QUANTITY: Final = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?"

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Uint32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Quantity = Annotated[str, msgspec.Meta(pattern=f"^{QUANTITY}$")]


class Section(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A group of fields."""


class ClientConnection(Section, frozen=True):
    """How to speak to the API server. ``kubeconfig`` is a path; empty means in-cluster."""

    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = ""
    qps: float = 0.0
    burst: Int32 = 0


class TextOptions(Section, frozen=True):
    """Alpha options of the text format. Buffer sizes are Kubernetes quantities (``1Mi``)."""

    split_stream: bool = False
    info_buffer_size: Quantity | int = "0"


class JsonOptions(Section, frozen=True):
    """Alpha options of the JSON format."""

    split_stream: bool = False
    info_buffer_size: Quantity | int = "0"


class FormatOptions(Section, frozen=True):
    """Options by log format."""

    text: TextOptions = TextOptions()
    json: JsonOptions = JsonOptions()


class VModule(Section, frozen=True):
    """A log level of its own for the files that match a pattern."""

    file_pattern: str = ""
    verbosity: Uint32 = 0


class Logging(Section, frozen=True):
    """What is logged and how."""

    format: str = ""
    flush_frequency: Duration = Duration()
    verbosity: Uint32 = 0
    vmodule: tuple[VModule, ...] = ()
    options: FormatOptions = FormatOptions()


class IPTables(Section, frozen=True):
    """Settings of iptables mode; some count for other modes too (see ``effective``)."""

    masquerade_bit: Int32 | None = None
    masquerade_all: bool = False
    localhost_node_ports: bool | None = None
    sync_period: Duration = Duration()
    min_sync_period: Duration = Duration()


class NFTables(Section, frozen=True):
    """Settings of nftables mode."""

    masquerade_bit: Int32 | None = None
    masquerade_all: bool = False
    sync_period: Duration = Duration()
    min_sync_period: Duration = Duration()


class IPVS(Section, frozen=True):
    """Settings of IPVS mode. Time-outs of zero leave the kernel's."""

    sync_period: Duration = Duration()
    min_sync_period: Duration = Duration()
    scheduler: str = ""
    exclude_cidrs: tuple[str, ...] = msgspec.field(default=(), name="excludeCIDRs")
    strict_arp: bool = msgspec.field(default=False, name="strictARP")
    tcp_timeout: Duration = Duration()
    tcp_fin_timeout: Duration = Duration()
    udp_timeout: Duration = Duration()


class Winkernel(Section, frozen=True):
    """Settings of Windows nodes: read and written back, without effect here."""

    network_name: str = ""
    source_vip: str = ""
    enable_dsr: bool = msgspec.field(default=False, name="enableDSR")
    root_hns_endpoint_name: str = ""
    forward_health_check_vip: bool = False


class DetectLocal(Section, frozen=True):
    """Names for the two interface modes of local detection."""

    bridge_interface: str = ""
    interface_name_prefix: str = ""


class Conntrack(Section, frozen=True):
    """Sysctls of connection tracking. Zero leaves the kernel's value."""

    max_per_core: Int32 | None = None
    min: Int32 | None = None
    tcp_established_timeout: Duration | None = None
    tcp_close_wait_timeout: Duration | None = None
    tcp_be_liberal: bool = False
    udp_timeout: Duration = Duration()
    udp_stream_timeout: Duration = Duration()


class Relay(Section, frozen=True):
    """Settings of the relay of userspace mode.

    ``workers``: threads, 0 for one a CPU and four at most. ``all_port`` and ``local_port``: where it listens, for clients
    whom every endpoint may serve and for those whom only this node's may. ``take_bit`` and ``own_bit``: bits of packet and
    conntrack mark, for what goes to the relay and what comes from it. ``keep_source``: endpoints on this node see the
    client's address. ``attempts``: endpoints that are tried for one connection, each for ``attempt_timeout``, together for
    ``dial_timeout``. ``user_timeout``: how long sent bytes may stay unconfirmed. ``drain_timeout``: what a connection has
    when its endpoint has left its Service, 0 for no limit; ``leave_timeout``: when the relay leaves, for another mode or at
    the end of the process. ``tcp_idle_timeout`` 0: silence alone ends no connection.
    """

    workers: Int32 = 0
    all_port: Int32 = 10246
    local_port: Int32 = 10247
    take_bit: Int32 = 16
    own_bit: Int32 = 17
    keep_source: bool = False
    max_connections: Int32 = 1_000_000
    attempts: Int32 = 4
    attempt_timeout: Duration = Duration.of(1)
    dial_timeout: Duration = Duration.of(5)
    half_closed_timeout: Duration = Duration.of(300)
    tcp_idle_timeout: Duration = Duration()
    udp_idle_timeout: Duration = Duration.of(30)
    user_timeout: Duration = Duration.of(30)
    drain_timeout: Duration = Duration()
    leave_timeout: Duration = Duration.of(600)


class Extensions(Section, frozen=True):
    """What kproxy can do and upstream cannot: section ``kproxy`` of the file.

    ``manifests``: a directory with Services and EndpointSlices to serve instead of an API server's. ``conntrackMask``: the
    bits of the conntrack mark kproxy may write to count bytes per Service; 0 for none. ``countBytes``: count packets and
    bytes per endpoint, after translation, for a look-up a packet. ``metricsMaxServices`` and
    ``metricsMaxEndpoints``: how many get traffic series of their own. ``eventsPerMinute``: how many Kubernetes Events may be
    sent. ``relay``: the relay of userspace mode.
    """

    manifests: str = ""
    conntrack_mask: Uint32 = 0
    count_bytes: bool = False
    metrics_max_services: Int32 = 1000
    metrics_max_endpoints: Int32 = 2000
    events_per_minute: Int32 = 60
    relay: Relay = Relay()


class KubeProxyConfiguration(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The whole file."""

    feature_gates: dict[str, bool] = {}
    client_connection: ClientConnection = ClientConnection()
    logging: Logging = Logging()
    hostname_override: str = ""
    bind_address: str = ""
    healthz_bind_address: str = ""
    metrics_bind_address: str = ""
    bind_address_hard_fail: bool = False
    enable_profiling: bool = False
    show_hidden_metrics_for_version: str = ""
    mode: str = ""
    iptables: IPTables = IPTables()
    ipvs: IPVS = IPVS()
    nftables: NFTables = NFTables()
    winkernel: Winkernel = Winkernel()
    detect_local_mode: str = ""
    detect_local: DetectLocal = DetectLocal()
    cluster_cidr: str = msgspec.field(default="", name="clusterCIDR")
    node_port_addresses: tuple[str, ...] = ()
    oom_score_adj: Int32 | None = None
    conntrack: Conntrack = Conntrack()
    config_sync_period: Duration = Duration()
    port_range: str = ""
    windows_run_as_service: bool = False
    kproxy: Extensions = Extensions()

    @property
    def cluster_cidrs(self) -> tuple[str, ...]:
        """The entries of ``clusterCIDR``: split on commas, not trimmed, as upstream does."""
        return tuple(self.cluster_cidr.split(",")) if self.cluster_cidr else ()
