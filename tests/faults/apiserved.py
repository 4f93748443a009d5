# SPDX-License-Identifier: Apache-2.0
"""The node under test with an API server beside it, whose objects and misbehaviour are a test's to choose."""

import json
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from kproxy.lab.namespaces import inside
from kproxy.lab.processes import Program
from tests.faults.daemon import NodeUnderTest

PORT: Final = 8001
URL: Final = f"http://127.0.0.1:{PORT}"
NODE: Final[dict[str, Any]] = {
    "kind": "Node",
    "apiVersion": "v1",
    "metadata": {"name": "node"},
    "status": {"addresses": [{"type": "InternalIP", "address": "172.20.0.1"}]},
}


class ApiServedNode(NodeUnderTest):
    """Reads its Services from an API server on the node's loopback."""

    nodes = (NODE,)

    def _prepare(self, directory: Path) -> None:
        self._server = Program(
            self.bed.node, directory / "api.log", "kproxy.lab.apiserver", "--host=127.0.0.1", f"--port={PORT}"
        )
        deadline = time.monotonic() + 20
        while True:
            self._server.check()
            try:
                self.get(PORT, "/readyz")
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def _write(self, name: str, items: list[dict[str, Any]]) -> None:
        del name  # objects have names of their own there
        for item in items:
            self.post("/lab/raw", item)

    def start(self, *flags: str) -> None:
        """Start the daemon."""
        super().start(*(flags or (f"--master={URL}",)))

    def post(self, path: str, body: object) -> None:
        """Tell the API server something."""
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{URL}{path}", json.dumps(body).encode(), kind)  # noqa: S310 - our own http URL
        with inside(self.bed.node.namespace), urllib.request.urlopen(request, timeout=10):  # noqa: S310 - same
            pass

    def stop_server(self) -> None:
        """Kill the API server."""
        self._server.kill()

    def close(self) -> None:
        """End everything."""
        self._server.kill()
        super().close()
