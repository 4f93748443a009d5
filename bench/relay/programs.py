# SPDX-License-Identifier: Apache-2.0
"""Programs that run in a host while a block lasts, and end with it."""

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.relay.services import Place
from kproxy.lab.host import Host
from kproxy.lab.namespaces import inside
from kproxy.table.terms import Protocol

_PATIENCE: Final = 15.0


@contextlib.contextmanager
def running(
    host: Host,
    command: Sequence[str],
    log: Path,
    *,
    listens: Sequence[Place] = (),
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command inside a host and yield its process, once it listens wherever it should."""
    with inside(host.namespace), log.open("wb") as words:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=words, stderr=words, env=environment, pass_fds=descriptors, bufsize=0
        )
    try:
        for place in listens:
            _await(host, place, process, log)
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(host: Host, place: Place, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _listens(host, place):
        assert process.poll() is None, f"{process.args!r} ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"{process.args!r} does not listen at {place}: {log.read_text()[-2000:]}"
        time.sleep(0.02)


def _listens(host: Host, place: Place) -> bool:
    """Tell whether some socket of the host is bound to a place's port, without sending it anything."""
    tcp = place.service.protocol is Protocol.TCP
    tables, state = (("tcp", "tcp6"), "0A") if tcp else (("udp", "udp6"), "07")
    with inside(host.namespace):
        rows = [
            row.split() for table in tables for row in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]
        ]
    wanted = {f"{place.port:04X}"}
    addresses = {_hexadecimal(place.address), "00000000", "0" * 32}
    return any(
        row[3] == state and row[1].rpartition(":")[2] in wanted and row[1].rpartition(":")[0] in addresses for row in rows
    )


def _hexadecimal(address: str) -> str:
    """Write an IPv4 address as ``/proc/net/tcp`` does."""
    return socket.inet_aton(address)[::-1].hex().upper()
