# SPDX-License-Identifier: Apache-2.0
"""A real SCTP association through a virtual server."""

import socket
from typing import Final

from kproxy.kernel.ipvs_values import RealServer, ServerKey, VirtualServer
from kproxy.table.terms import Protocol
from tests.vm.way import Way

VIP: Final = "10.96.0.132"
SERVER: Final = "10.128.0.1"
KEY: Final = ServerKey.at(Protocol.SCTP, VIP, 132)


def test_an_association_is_made_and_carries_messages_both_ways(way: Way) -> None:
    """The client sees the virtual address only; IPVS counts one established connection."""
    with way.open(way.server, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as listener:
        listener.bind((SERVER, 1320))
        listener.listen()
        with (
            way.service(VirtualServer(KEY), [RealServer(SERVER, 1320)]),
            way.open(way.client, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as dialled,
        ):
            dialled.connect((VIP, 132))
            accepted, (client, _) = listener.accept()
            with accepted:
                dialled.sendall(b"question")
                assert accepted.recv(100) == b"question"
                accepted.sendall(b"answer")
                assert dialled.recv(100) == b"answer"
                assert (dialled.getpeername(), client) == ((VIP, 132), "172.20.0.2")
                [real] = way.ipvs.reals(KEY)
                assert (real.active, real.inactive) == (1, 0)
