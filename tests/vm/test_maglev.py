# SPDX-License-Identifier: Apache-2.0
"""``mh``: when one of 100 servers goes, hardly a connection moves that need not, as few as with Maglev itself."""

from collections import Counter
from statistics import mean
from typing import Final

from kproxy import _core
from kproxy.kernel.ipvs_values import Operation, RealServer, ServerKey, VirtualServer
from kproxy.table.terms import Protocol
from tests.vm.way import PORT, Datagram, Way

SLOTS: Final = 4093  # of the table of Debian's kernel: CONFIG_IP_VS_MH_TAB_INDEX is 12
SERVERS: Final = [f"10.128.1.{number}" for number in range(1, 101)]
GONE: Final = SERVERS[41]
KEY: Final = ServerKey.at(Protocol.UDP, "10.96.0.9", 80)
SAMPLES: Final = [
    Datagram(f"172.20.{16 + number // 250}.{1 + number % 250}", 1024 + number * 5, "10.96.0.9") for number in range(10_000)
]


def needless(before: list[str], after: list[str]) -> float:
    """Return the part of the connections that moved although their server stayed."""
    assert GONE not in after
    stayed = [(old, new) for old, new in zip(before, after, strict=True) if old != GONE]
    return sum(old != new for old, new in stayed) / len(stayed)


def reference(seed: bytes) -> float:
    """Return the same of a Maglev table of that size."""

    def slots(servers: list[str]) -> list[str]:
        names = [server.encode() for server in servers]
        return [servers[place] for place in _core.maglev(names, [1] * len(names), seed, SLOTS)]

    return needless(slots(SERVERS), slots([server for server in SERVERS if server != GONE]))


def test_hardly_a_connection_moves_needlessly(way: Way) -> None:
    """At most 1.3 times what a reference Maglev of the kernel's table size moves; every server had its share before."""
    reals = [RealServer(server, PORT) for server in SERVERS]
    # Each packet is chosen for anew, by the client's address and port.
    with way.service(VirtualServer(KEY, "mh", one_packet=True, scheduler_flags=2), reals):
        before = way.send(SAMPLES)
        assert way.send(SAMPLES[:500]) == before[:500]
        assert way.ipvs.apply([Operation.delete_real(KEY, RealServer(GONE, PORT))]) == []
        after = way.send(SAMPLES)

    counts = Counter(before)
    assert set(counts) == set(SERVERS)
    assert 40 < min(counts.values()) <= max(counts.values()) < 170, counts
    moved, wanted = needless(before, after), mean(reference(bytes([seed])) for seed in range(20))
    print(f"\nmh: {moved:.2%} moved needlessly, Maglev of {SLOTS} slots {wanted:.2%}: {moved / wanted:.2f} times")
    assert moved <= 1.3 * wanted
