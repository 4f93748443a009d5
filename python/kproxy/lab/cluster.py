# SPDX-License-Identifier: Apache-2.0
"""A whole cluster: the network, an API server on it, a kproxy on every node, an application."""

import asyncio
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from kproxy.lab.client import Client
from kproxy.lab.controllers import Controllers
from kproxy.lab.processes import Program
from kproxy.lab.topology import API_SERVER, PODS4, PODS6, SERVICES4, SERVICES6, Node, Topology
from kproxy.table.errors import KproxyError

API_PORT: Final = 8001
API_URL: Final = f"http://{API_SERVER}:{API_PORT}"
_PATIENCE: Final = 30.0


class Cluster:
    """Starts as a context manager, and leaves nothing behind however it ends."""

    def __init__(self, nodes: int = 3, flags: tuple[str, ...] = ()) -> None:
        self._count = nodes
        self._flags = flags
        self._directory = tempfile.TemporaryDirectory(prefix="kproxy-lab-")
        self.daemons: dict[str, Program] = {}

    async def __aenter__(self) -> Self:
        """Build the network, start the API server, register the nodes. The daemons come with ``start_daemons``."""
        self.topology = Topology(self._count)
        self.server = Program(
            self.topology.fabric,
            self.log("apiserver"),
            "kproxy.lab.apiserver",
            f"--host={API_SERVER}",
            f"--port={API_PORT}",
            "--cidr",
            SERVICES4,
            SERVICES6,
        )
        self.api = Client(self.topology.fabric, API_URL)
        await self._until("the API server", self.server, self.api, "/readyz")
        self.controllers = Controllers(self.topology, self.api)
        await self.controllers.register(self.topology.nodes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        for daemon in self.daemons.values():
            await daemon.stop()
        if hasattr(self, "controllers"):
            await self.controllers.close()
        if hasattr(self, "api"):
            await self.api.close()
        if hasattr(self, "server"):
            await self.server.stop()
        if hasattr(self, "topology"):
            self.topology.close()
        self._directory.cleanup()

    def log(self, name: str) -> Path:
        """Return the file that holds a program's words."""
        return Path(self._directory.name) / f"{name}.log"

    async def apply(self, *files: Path) -> None:
        """Apply manifest files."""
        manifests: list[dict[str, Any]] = []
        for file in files:
            manifests += [item for item in yaml.safe_load_all(file.read_text()) if item]
        await self.controllers.apply(manifests)

    async def start_daemons(self) -> None:
        """Start a kproxy on every node and wait until each is ready."""
        for node in self.topology.nodes:
            self.start_daemon(node)
        await asyncio.gather(*(self.wait_ready(node) for node in self.topology.nodes))

    def start_daemon(self, node: Node) -> None:
        """Start the kproxy of one node."""
        self.daemons[node.name] = Program(
            node.host,
            self.log(node.name),
            "kproxy",
            f"--master={API_URL}",
            f"--hostname-override={node.name}",
            "--proxy-mode=nftables",
            f"--cluster-cidr={PODS4},{PODS6}",
            "--healthz-bind-address=0.0.0.0:10256",
            "--metrics-bind-address=127.0.0.1:10249",
            "--conntrack-max-per-core=0",  # the machine's limits are not the lab's to change
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
            "--iptables-min-sync-period=1ms",  # every change at once, so that its way can be timed
            "--oom-score-adj=0",
            *self._flags,
        )

    async def wait_ready(self, node: Node) -> None:
        """Wait until a node's kproxy has its table in force."""
        async with Client(node.host, "http://127.0.0.1:10256") as health:
            await self._until(f"kproxy on {node.name}", self.daemons[node.name], health, "/readyz")

    async def metrics(self, node: Node) -> str:
        """Return a node's metrics as text."""
        async with Client(node.host, "http://127.0.0.1:10249") as client:
            return (await client.text("/metrics"))[1]

    async def _until(self, what: str, program: Program, client: Client, path: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            program.check()
            try:
                status, said = await client.text(path)
                if status == 200:
                    return
            except OSError as error:
                said = str(error)
            if time.monotonic() > deadline:
                raise KproxyError(f"{what} is not ready after {_PATIENCE:.0f} s: {said}; its log is {program.log}")
            await asyncio.sleep(0.05)
