# SPDX-License-Identifier: Apache-2.0
"""The door to IPVS and a real kernel agree: what was added is read back, what cannot be is told and named."""

import errno
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest

from kproxy.kernel.ipvs import Ipvs, Timeouts
from kproxy.kernel.ipvs_values import Operation, RealServer, ServerKey, VirtualServer
from kproxy.kernel.nfnl import NetlinkRefused
from kproxy.lab.namespaces import ip, private
from kproxy.table.errors import Unsupported
from kproxy.table.terms import Family, Method, Protocol

KEY: Final = ServerKey.at(Protocol.TCP, "10.96.0.1", 80)
REAL: Final = RealServer("10.128.0.1", 8080)


def servers() -> list[tuple[VirtualServer, list[RealServer]]]:
    """Return a server of every kind: each family and protocol, by address and by mark, with every property."""
    found = []
    for family, vip, pod in ((Family.IPV4, "10.96.0.1", "10.1.0.1"), (Family.IPV6, "fd00:96::1", "fd00:1::1")):
        reals = [RealServer(pod, 8080), RealServer(pod, 8081, 0), RealServer(pod, 8082, 65_535, upper=9, lower=4)]
        keys = [ServerKey.at(protocol, vip, 80) for protocol in Protocol]
        found += [(VirtualServer(key), reals) for key in keys]
        mark = ServerKey.marked(family, 0x14001)
        found.append((VirtualServer(mark, "mh", 9, 24, one_packet=True, scheduler_flags=3), reals))
        found.append((VirtualServer(ServerKey.marked(family, 1), "sh", persistence=10_800), []))
    return found


@pytest.fixture
def ipvs() -> Iterator[Ipvs]:
    """Open the door to an empty IPVS."""
    with private():
        ip(["link set lo up"])  # without it the kernel takes every IPv4 address for a broadcast address
        yield Ipvs()


def test_what_is_added_is_read_back(ipvs: Ipvs) -> None:
    """By us, and by ipvsadm, whose listing restored gives the same again."""
    wanted = {server.key: (server, set(reals)) for server, reals in servers()}
    added = [
        operation
        for server, reals in servers()
        for operation in (
            Operation.add_server(server),
            *(Operation.add_real(server.key, real) for real in reals),
        )
    ]

    assert ipvs.apply(added) == []

    held = {key: (each.server, {real.server for real in each.reals}) for key, each in ipvs.dump().items()}
    assert held == wanted
    six = {key for key in wanted if key.family is Family.IPV6}
    assert set(ipvs.dump(Family.IPV6)) == set(ipvs.servers(Family.IPV6)) == six

    assert ipvs.apply([Operation.delete_server(key) for key in wanted]) == []
    assert ipvs.dump() == {}
    subprocess.run(["ipvsadm", "-R"], input="".join(f"{operation}\n" for operation in added), text=True, check=True)
    assert {key: (each.server, {real.server for real in each.reals}) for key, each in ipvs.dump().items()} == held


def test_changes_in_place(ipvs: Ipvs) -> None:
    """A server's properties, a real server's weight; what is deleted is gone."""
    ipvs.apply([Operation.add_server(VirtualServer(KEY, "rr", 60)), Operation.add_real(KEY, REAL)])
    other, idle = RealServer("10.128.0.2", 8080), RealServer("10.128.0.1", 8080, 0)

    changes = [
        Operation.set_server(VirtualServer(KEY, "wlc")),
        Operation.add_real(KEY, other),
        Operation.set_real(KEY, idle),
        Operation.delete_real(KEY, other),
    ]

    assert ipvs.apply(changes) == []
    held = ipvs.dump()[KEY]
    assert (held.server, [real.server for real in held.reals]) == (VirtualServer(KEY, "wlc"), [idle])


def test_one_that_fails_stops_no_other(ipvs: Ipvs) -> None:
    """Each failure has its place and the kernel's number; the others are carried out, thousands of them."""
    keys = [ServerKey.at(Protocol.TCP, f"10.96.{number // 200}.{number % 200}", 80) for number in range(1500)]
    ipvs.apply([Operation.add_server(VirtualServer(key)) for key in keys[::3]])

    failures = ipvs.apply([Operation.add_server(VirtualServer(key)) for key in keys])

    assert [failure.index for failure in failures] == list(range(0, 1500, 3))
    assert {failure.error.errno for failure in failures if isinstance(failure.error, NetlinkRefused)} == {errno.EEXIST}
    assert str(failures[1].error) == "ipvsadm -A -t 10.96.0.3:80 -s rr: File exists (EEXIST)"
    assert len(ipvs.servers()) == 1500


@pytest.mark.parametrize(
    ("operation", "number"),
    [
        (Operation.delete_server(KEY), errno.ESRCH),
        (Operation.add_real(KEY, REAL), errno.ESRCH),
        (Operation.delete_real(ServerKey.marked(Family.IPV4, 5), REAL), errno.ENOENT),
        (Operation.set_real(ServerKey.marked(Family.IPV4, 5), REAL), errno.ENOENT),
    ],
)
def test_what_is_not_there_cannot_be_changed(ipvs: Ipvs, operation: Operation, number: int) -> None:
    """ESRCH: no such server; ENOENT: no such real server."""
    ipvs.apply([Operation.add_server(VirtualServer(ServerKey.marked(Family.IPV4, 5)))])

    [failure] = ipvs.apply([operation])

    assert isinstance(failure.error, NetlinkRefused)
    assert failure.error.errno == number


def test_schedulers_are_asked_for_before_anything_is_changed(ipvs: Ipvs) -> None:
    """Every one IPVS has is found; one it has not is named with the mend; nothing is added by asking."""
    ipvs.probe([method for method in Method if method is not Method.RANDOM])
    with pytest.raises(Unsupported, match="no IPVS scheduler nonesuch: modprobe ip_vs_nonesuch"):
        ipvs.probe(["rr", "nonesuch"])

    assert ipvs.servers() == {}
    [failure] = ipvs.apply([Operation.add_server(VirtualServer(KEY, "nonesuch"))])
    assert isinstance(failure.error, Unsupported)


def test_timeouts(ipvs: Ipvs) -> None:
    """They are read and set; 0 leaves what is."""
    before = ipvs.timeouts()
    ipvs.set_timeouts(Timeouts(tcp=1000, udp=77))

    assert ipvs.timeouts() == Timeouts(1000, before.tcp_fin, 77)
