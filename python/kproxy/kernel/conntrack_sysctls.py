# SPDX-License-Identifier: Apache-2.0
"""Which sysctls of connection tracking the configuration asks for. Pure; ``sysctl`` carries them out.

As upstream's ``pkg/proxy/conntrack/sysctls.go`` (1.36, with the later mend that never lowers the table): a value of zero
leaves the kernel's, durations are cut to whole seconds (but never to none), and ``tcpBeLiberal: false`` resets nothing.
"""

from typing import Final

from kproxy.config.durations import Duration
from kproxy.config.schema import Conntrack
from kproxy.kernel.sysctl import Sysctl

LARGEST_TABLE: Final = 1 << 20  # entries; more than that is an operator's own decision
_BUCKETS_PER_ENTRY: Final = 4  # entries a hash bucket
_SECOND: Final = 10**9


def table_size(max_per_core: int | None, least: int | None, cpus: int) -> int:
    """Return the number of entries to allow; 0 leaves the kernel's limit alone.

    A product above the cap gives the cap, whatever ``least`` says; below it the larger of product and ``least`` counts.
    """
    if not max_per_core or max_per_core < 0:
        return 0
    scaled = max_per_core * cpus
    return LARGEST_TABLE if scaled > LARGEST_TABLE else max(scaled, least or 0)


def conntrack_sysctls(conntrack: Conntrack, cpus: int) -> tuple[Sysctl, ...]:
    """Return what to set, in order."""
    wanted = []
    size = table_size(conntrack.max_per_core, conntrack.min, cpus)
    if size:
        wanted.append(Sysctl("net.netfilter.nf_conntrack_max", size, "conntrack.maxPerCore", raise_only=True))
        buckets = size // _BUCKETS_PER_ENTRY
        if buckets:  # a short hash table costs time, not connections
            wanted.append(
                Sysctl("net.netfilter.nf_conntrack_buckets", buckets, "conntrack.maxPerCore", raise_only=True, optional=True)
            )
    timeouts: tuple[tuple[str, Duration | None, str], ...] = (
        ("tcp_timeout_established", conntrack.tcp_established_timeout, "tcpEstablishedTimeout"),
        ("tcp_timeout_close_wait", conntrack.tcp_close_wait_timeout, "tcpCloseWaitTimeout"),
        ("udp_timeout", conntrack.udp_timeout, "udpTimeout"),
        ("udp_timeout_stream", conntrack.udp_stream_timeout, "udpStreamTimeout"),
    )
    wanted += [
        Sysctl(f"net.netfilter.nf_conntrack_{name}", max(timeout // _SECOND, 1), f"conntrack.{field}")
        for name, timeout, field in timeouts
        if timeout is not None and timeout > 0
    ]
    if conntrack.tcp_be_liberal:
        wanted.append(Sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", 1, "conntrack.tcpBeLiberal"))
    return tuple(wanted)
