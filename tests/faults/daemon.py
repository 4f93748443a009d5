# SPDX-License-Identifier: Apache-2.0
"""A node under test: the daemon as a process, manifests as its cluster, real traffic through its rules."""

import json
import mmap
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.tables import SERVICES
from kproxy.dataplanes.contract import Difference
from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from kproxy.lab.namespaces import inside
from kproxy.lab.processes import Program
from kproxy.objects.decode import convert
from kproxy.objects.events import Host, HostAddress, Kind, Synced, Upsert
from kproxy.routing.router import Router
from kproxy.routing.settings import Settings
from kproxy.table.terms import Family, Mode
from tests.bed import Bed, child, serving
from tests.faults.churn import dial_forever
from tests.manifests import endpoint_slice, service

ADDRESSES: Final = (HostAddress("c0", "172.20.0.1", 24), HostAddress("s0", "172.21.0.1", 24))  # as the bed gives them
FLAGS: Final = (
    "--proxy-mode=nftables",
    "--hostname-override=node",
    "--cluster-cidr=10.128.0.0/9",
    "--healthz-bind-address=127.0.0.1:10256",
    "--metrics-bind-address=127.0.0.1:10249",
    "--iptables-min-sync-period=10ms",
    "--conntrack-max-per-core=0",
    "--conntrack-tcp-timeout-established=0s",
    "--conntrack-tcp-timeout-close-wait=0s",
    "--oom-score-adj=0",
)


class NodeUnderTest:
    """The daemon on the bed's node. ``services`` of two endpoints each; number 0 is the one that changes.

    ``manifests`` is the directory it reads; ``nodes`` are Node objects that it is told of.
    """

    nodes: tuple[dict[str, Any], ...] = ()

    def __init__(self, directory: Path, services: int) -> None:
        self.bed = Bed()
        self.log = directory / "daemon.log"
        self._prepare(directory)
        self._still = [*self.nodes, *map(service, range(services))]
        self._still += [endpoint_slice(number, [2 * number, 2 * number + 1]) for number in range(1, services)]
        self._write("still.json", self._still)
        self.change([0, 1])
        self.daemon: Program | None = None

    def _prepare(self, directory: Path) -> None:
        """Make the place that objects are written to."""
        self.manifests = directory / "manifests"
        self.manifests.mkdir()

    def _write(self, name: str, items: list[dict[str, Any]]) -> None:
        fresh = self.manifests / f".{name}"
        fresh.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        fresh.rename(self.manifests / name)

    def change(self, members: list[int]) -> None:
        """Give Service 0 these endpoints."""
        self._moving = endpoint_slice(0, members)
        self._write("moving.json", [self._moving])

    def start(self, *flags: str) -> None:
        """Start the daemon, ``flags`` instead of those that name the manifests."""
        self.daemon = Program(self.bed.node, self.log, "kproxy", *(flags or (f"--manifests={self.manifests}",)), *FLAGS)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        assert self.daemon is not None
        self.daemon.kill()

    def run(self, *command: str, patience: float = 60.0, **given: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on the node until it ends; ``given`` as for ``subprocess.run``."""
        with inside(self.bed.node.namespace):
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience, **given)

    def complaints(self, words: str) -> list[str]:
        """Return the warnings and errors of the log that hold these words."""
        return [line for line in self.log.read_text().splitlines() if line[:1] in "WE" and words in line]

    def wait_complaint(self, words: str, *, beyond: int = 0, patience: float = 20.0) -> str:
        """Wait until the daemon complains of something more than ``beyond`` times, and return the line."""
        deadline = time.monotonic() + patience
        while len(found := self.complaints(words)) <= beyond:
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.02)
        return found[beyond]

    def dial(self, number: int = 0) -> bool:
        """Dial a Service once; tell whether it was answered."""
        with inside(self.bed.client.namespace), socket.socket() as dial:
            dial.settimeout(5)
            try:
                dial.connect((str(SERVICES[number + 1]), 80))
            except ConnectionResetError:
                return True  # by the server, after the handshake
            except OSError:
                return False
            return True

    def wait_answer(self, number: int, patience: float = 10.0) -> None:
        """Wait until a dial of a Service is answered."""
        deadline = time.monotonic() + patience
        while not self.dial(number):
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]

    def get(self, port: int, path: str) -> str:
        """Ask the daemon over HTTP, from inside the node. Raises OSError while it does not answer with 200."""
        with inside(self.bed.node.namespace), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def wait_ready(self, patience: float = 60.0) -> None:
        """Wait until the daemon says that its table is in force."""
        assert self.daemon is not None
        deadline = time.monotonic() + patience
        while True:
            self.daemon.check()
            try:
                self.get(10256, "/readyz")
            except OSError:
                assert time.monotonic() < deadline, self.log.read_text()[-3000:]
                time.sleep(0.02)
            else:
                return

    def differences(self) -> list[Difference]:
        """Compare the node's kernel with a table resolved afresh from the manifests."""
        router = Router(
            Settings(mode=Mode.NFTABLES, node="node", cluster_cidrs=("10.128.0.0/9",), node_port_addresses=("primary",))
        )
        events = [Upsert(convert(Kind(item["kind"]), item)) for item in (*self._still, self._moving)]
        changes = router.apply([*events, Host(ADDRESSES), *map(Synced, Kind)])
        assert changes is not None
        with inside(self.bed.node.namespace):
            dataplane = NftablesDataplane(Family.IPV4)
            found = list(dataplane.verify(dataplane.read_back(), changes.after))
            dataplane.close()
        return found

    def wait_equal(self, patience: float) -> float:
        """Wait until the kernel holds what the manifests say, and return how many seconds that took."""
        began = time.monotonic()
        while found := self.differences():
            assert time.monotonic() < began + patience, (found[:5], self.log.read_text()[-3000:])
            time.sleep(0.02)
        return time.monotonic() - began

    def wait_endpoints(self, number: int, patience: float = 10.0) -> None:
        """Wait until the kernel holds the endpoints of one Service, whatever the others look like."""
        deadline = time.monotonic() + patience
        name = f"service-{number}"
        while found := [item for item in self.differences() if item.key and item.key.name == name]:
            assert time.monotonic() < deadline, (found, self.log.read_text()[-3000:])
            time.sleep(0.02)

    def nft(self, command: str) -> str:
        """Run an nft command on the node, as somebody else would."""
        with inside(self.bed.node.namespace):
            return subprocess.run(["nft", *command.split()], check=True, capture_output=True, text=True).stdout

    @contextmanager
    def dialling(
        self,
        number: int = 0,
        server: Callable[[], None] | None = None,
        dial: Callable[[Bed, str, memoryview], None] = dial_forever,
    ) -> Iterator[memoryview]:
        """Dial a Service without pause for a while; yields dials, failures and slow dials so far.

        ``server`` is what the server does instead of resetting every connection, ``dial`` what the client does.
        """
        counts = memoryview(mmap.mmap(-1, 3 * 8)).cast("q")
        address = str(SERVICES[number + 1])
        with serving(self.bed, server), child(self.bed.client, lambda: dial(self.bed, address, counts)):
            yield counts

    def close(self) -> None:
        """End the daemon and let go of everything."""
        if self.daemon is not None:
            self.daemon.kill()
        self.bed.close()
