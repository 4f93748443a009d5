# SPDX-License-Identifier: Apache-2.0
"""Holds connections that say nothing: ``accept PORT`` serves them, ``dial ADDRESS PORT COUNT`` opens them.

The dialler prints a line once all are open, has each carry one more exchange for each line it reads and prints one again,
and lets them go when its input ends.
"""

import resource
import selectors
import socket
import sys


def accept(port: int) -> None:
    """Accept for good and close what its peer has closed."""
    selector = selectors.DefaultSelector()
    server = socket.create_server(("0.0.0.0", port), backlog=65_535)
    selector.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is server:
                connection, _ = server.accept()
                selector.register(connection, selectors.EVENT_READ)
            else:
                _answer(selector, key.fileobj)


def _answer(selector: selectors.BaseSelector, connection: object) -> None:
    assert isinstance(connection, socket.socket)
    try:
        words = connection.recv(64)
        connection.sendall(words)
    except OSError:
        words = b""
    if not words:
        selector.unregister(connection)
        connection.close()


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
        accept(int(sys.argv[2]))
    else:
        dial(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
