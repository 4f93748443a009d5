# SPDX-License-Identifier: Apache-2.0
"""Holds connections that say nothing: ``accept PORT`` serves them, ``dial ADDRESS PORT COUNT`` opens them.

The dialler prints a line once all are open, has each carry one more exchange for each line it reads and prints one again,
and lets them go when its input ends.
"""

import resource
import socket
import sys

from tests.bed import echo_forever


def dial(address: str, port: int, count: int) -> None:
    """Open connections, have each carry one exchange, and hold them until the input ends."""
    held = []
    for _ in range(count):
        held.append(socket.create_connection((address, port), timeout=30))
        _exchange(held[-1])
    print("open", flush=True)
    for _ in sys.stdin:
        for connection in held:
            _exchange(connection)
        print("open", flush=True)


def _exchange(connection: socket.socket) -> None:
    connection.sendall(b"once")
    assert connection.recv(64) == b"once"


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1] == "accept":
        echo_forever(lambda client: client, int(sys.argv[2]))  # nobody is welcomed: they say nothing
    else:
        dial(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
