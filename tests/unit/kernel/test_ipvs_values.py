# SPDX-License-Identifier: Apache-2.0
"""IPVS's values: what ``ipvsadm`` would be told, and what the core is given and gives."""

import pytest

from kproxy.kernel.ipvs_tuples import change_tuple, key_tuple, read_real, read_server, server_tuple
from kproxy.kernel.ipvs_values import Forwarding, HeldReal, Operation, RealServer, ServerKey, Statistics, VirtualServer
from kproxy.table.terms import Family, Protocol

PLAIN = ServerKey.at(Protocol.TCP, "10.96.0.1", 80)
SIX = ServerKey.at(Protocol.SCTP, "fd00::1", 132)
MARK = ServerKey.marked(Family.IPV6, 0x14001)
SERVERS = [
    (VirtualServer(PLAIN), "-t 10.96.0.1:80 -s rr"),
    (VirtualServer(PLAIN, "wrr", persistence=10800), "-t 10.96.0.1:80 -s wrr -p 10800"),
    (VirtualServer(PLAIN, "sh", 60, 24, scheduler_flags=3), "-t 10.96.0.1:80 -s sh -p 60 -M 255.255.255.0 -b flag-1,flag-2"),
    (VirtualServer(SIX, "lc", 60, 64), "--sctp-service [fd00::1]:132 -s lc -p 60 -M 64"),
    (VirtualServer(MARK, "mh", one_packet=True, scheduler_flags=2), "-f 81921 -6 -s mh -o -b flag-2"),
    (
        VirtualServer(ServerKey.at(Protocol.UDP, "10.96.0.2", 5060), "rr", 60, engine="sip"),
        "-u 10.96.0.2:5060 -s rr -p 60 --pe sip",
    ),
]


@pytest.mark.parametrize(("server", "words"), SERVERS)
def test_a_virtual_server_prints_and_travels(server: VirtualServer, words: str) -> None:
    """Its text is ipvsadm's; what the core is told comes back as the same value."""
    assert str(server) == words
    held = read_server((key_tuple(server.key), server_tuple(server), [1, 2, 3, 4, 5]), ())
    assert held is not None
    assert (held.server, held.statistics) == (server, Statistics(1, 2, 3, 4, 5))


def test_what_counts_for_persistence_only_is_left_out_without_it() -> None:
    """The kernel tells a time-out and a mask of servers that are not persistent too."""
    held = read_server((key_tuple(PLAIN), ("rr", 0, 360, 24, ""), [0] * 5), ())
    assert held is not None
    assert held.server == VirtualServer(PLAIN)


def test_a_server_of_another_protocol_is_nobody_of_ours() -> None:
    """A protocol no Service can have has no name here."""
    assert read_server(((2, 50, "10.96.0.1", 0, 0), ("rr", 0, 0, 32, ""), [0] * 5), ()) is None


def test_a_real_server_prints_and_travels() -> None:
    """Its text is ipvsadm's; bounds are told where there are any."""
    assert str(RealServer("10.1.0.2", 8080)) == "-r 10.1.0.2:8080 -m -w 1"
    assert str(RealServer("fd00::2", 80, 0, Forwarding.TUNNEL, 9, 4)) == "-r [fd00::2]:80 -i -w 0 -x 9 -y 4"
    read = read_real((("10.1.0.2", 8080, 3, 0, 0, 0), [1, 2, 3], [4, 5, 6, 7, 8]))
    assert read == HeldReal(RealServer("10.1.0.2", 8080, 3), 1, 2, 3, Statistics(4, 5, 6, 7, 8))


def test_operations_print_as_ipvsadm_takes_them() -> None:
    """One line each; what is deleted is only named."""
    real = RealServer("10.1.0.2", 8080, 2)
    lines = [
        str(Operation.add_server(VirtualServer(PLAIN))),
        str(Operation.set_server(VirtualServer(PLAIN, "lc"))),
        str(Operation.add_real(PLAIN, real)),
        str(Operation.set_real(MARK, real)),
        str(Operation.delete_real(PLAIN, real)),
        str(Operation.delete_server(MARK)),
    ]
    assert lines == [
        "-A -t 10.96.0.1:80 -s rr",
        "-E -t 10.96.0.1:80 -s lc",
        "-a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 2",
        "-e -f 81921 -6 -r 10.1.0.2:8080 -m -w 2",
        "-d -t 10.96.0.1:80 -r 10.1.0.2:8080",
        "-D -f 81921 -6",
    ]


def test_an_operation_travels_with_what_it_needs() -> None:
    """A server by mark has protocol 0; a real server's own tuple follows."""
    operation = Operation.add_real(MARK, RealServer("fd00::2", 80, 7))
    assert change_tuple(operation) == (5, (10, 0, "", 0, 0x14001), None, ("fd00::2", 80, 7, 0, 0, 0))
