# SPDX-License-Identifier: Apache-2.0
"""A node whose daemon is given one mode after another, with connections that live through all of it."""

import contextlib
import json
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.tables import SERVICES
from kproxy.daemon.modes import open_dataplanes, opened
from kproxy.lab.namespaces import inside
from kproxy.lab.processes import Program
from kproxy.routing.settings import Settings
from kproxy.table.terms import Family, Mode
from tests.bed import Bed, Clashes, client_sockets, echo_forever, reset_when_closed
from tests.faults.churn import SLOW
from tests.faults.daemon import NodeUnderTest

CONFIG: Final[dict[str, Any]] = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "hostnameOverride": "node",
    "clusterCIDR": "10.128.0.0/9",
    "healthzBindAddress": "127.0.0.1:10256",
    "metricsBindAddress": "127.0.0.1:10249",
    "nftables": {"minSyncPeriod": "10ms"},
    "iptables": {"minSyncPeriod": "10ms"},
    "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    "oomScoreAdj": 0,
}


class SwitchingNode(NodeUnderTest):
    """Reads its mode from a file that is followed. ``held`` are connections that a test keeps open."""

    def _prepare(self, directory: Path) -> None:
        super()._prepare(directory)
        self.config = directory / "config"
        self.held: list[socket.socket] = []
        self.predecessors: list[Program] = []

    def want(self, mode: str, **fields: Any) -> None:
        """Ask for a mode."""
        fresh = self.config.with_suffix(".fresh")
        fresh.write_text(json.dumps(CONFIG | {"mode": mode, "kproxy": {"manifests": str(self.manifests)}} | fields))
        fresh.rename(self.config)

    def start(self, *flags: str) -> None:
        """Start the daemon with the file."""
        super().start(f"--config={self.config}", *flags)

    def succeed(self, mode: str) -> Program:
        """Start a second daemon in a mode, wait until it serves in the first one's place, and return the first one."""
        assert self.daemon is not None
        first, self.config, self.log = self.daemon, self.config.with_name("next"), self.log.with_name("next.log")
        self.predecessors.append(first)
        self.want(mode)
        self.start()
        deadline = time.monotonic() + 60
        while "ready:" not in self.log.read_text():
            self.daemon.check()
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)
        return first

    def wait_mode(self, mode: str, *, alone: bool = False, patience: float = 60.0) -> None:
        """Wait until a mode serves and, where it shall be alone, nothing of another one is left."""
        deadline = time.monotonic() + patience
        while True:
            assert self.daemon is not None
            self.daemon.check()
            answer = self.run("curl", "-sf", "--abstract-unix-socket", "kproxy", "http://x/status?output=json").stdout
            status = json.loads(answer or "{}")
            if status.get("mode") == mode and not status["coming"] and not (alone and status["leaving"]):
                return
            assert time.monotonic() < deadline, (mode, status, self.log.read_text()[-3000:])
            time.sleep(0.05)

    def wait_gone(self, mode: Mode, patience: float = 60.0) -> None:
        """Wait until the kernel holds nothing of a mode."""
        deadline = time.monotonic() + patience
        while self._is_there(mode):
            assert time.monotonic() < deadline, (self.nft("list ruleset")[:3000], self.log.read_text()[-3000:])
            time.sleep(0.1)

    def _is_there(self, mode: Mode) -> bool:
        with inside(self.bed.node.namespace), opened(open_dataplanes(Settings(mode=mode), Family)) as dataplanes:
            return any(dataplane.found() for dataplane in dataplanes)

    def walk(self, path: Sequence[Mode], *, patience: float = 60.0, pause: float = 0.3) -> int:
        """Start in the first mode and go on to each of the others while endpoints change; return how much was exchanged.

        On the way no dial may fail, and no connection of any mode break.
        """
        self.want(path[0])
        self.start()
        self.wait_ready(patience)
        with self.exchanging() as counts:
            for number, mode in enumerate(path[1:]):
                self.hold()
                before = counts[0]
                self.want(mode)
                self.change([0, 1, 2 + number])
                self.wait_mode(mode, patience=patience)
                assert self.broken() == 0, f"connections broke on the way to {mode}"
                assert counts[1] == 0, f"{counts[1]} of {counts[0] - before} dials failed on the way to {mode}"
                time.sleep(pause)
            assert self.broken() == 0
            return counts[0]

    def hold(self) -> None:
        """Open one more connection that is to live."""
        with inside(self.bed.client.namespace):
            self.held.append(socket.create_connection((str(SERVICES[1]), 80), timeout=10))
        self._echo(self.held[-1])

    def broken(self) -> int:
        """Send and receive on every connection that is held; return how many have broken."""
        return sum(not self._lives(connection) for connection in self.held)

    def _lives(self, connection: socket.socket) -> bool:
        try:
            self._echo(connection)
        except OSError:
            return False
        return True

    def _echo(self, connection: socket.socket) -> None:
        connection.sendall(b"ping")
        if connection.recv(4) != b"ping":
            raise ConnectionError("the server has closed")

    def exchanging(self) -> contextlib.AbstractContextManager[memoryview]:
        """Dial and exchange a word without pause for a while; yields exchanges, failures and slow ones so far."""
        return self.dialling(server=echo_forever, dial=exchange_forever)

    def let_go(self) -> None:
        """Close what is held."""
        for connection in self.held:
            connection.close()
        self.held = []

    def close(self) -> None:
        """End everything."""
        self.let_go()
        for each in self.predecessors:
            each.kill()
        super().close()


def exchange_forever(bed: Bed, address: str, counts: memoryview) -> None:
    """Dial port 80 of an address until killed, and have a word echoed: a relay takes any dial, wherever it leads.

    Counts exchanges, those that failed, and those that were slow.
    """
    clashes = Clashes(bed)
    with inside(bed.client.namespace):
        for connection in client_sockets():
            began = time.monotonic()
            try:
                with connection:
                    connection.settimeout(5)
                    connection.connect((address, 80))
                    reset_when_closed(connection)
                    connection.sendall(b"ping")
                    counts[1] += connection.recv(4) != b"ping"
            except OSError:
                counts[1] += 1
            counts[2] += time.monotonic() - began > SLOW and not clashes.more()
            counts[0] += 1
