# SPDX-License-Identifier: Apache-2.0
"""The server: HTTP in front of the store.

``ApiServer`` runs on the event loop it is started on; all its methods are called from there. From another thread, or from
blocking code, see ``background``.
"""

import socket
import ssl
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web

from kproxy.lab.apiserver.allocation import Allocator
from kproxy.lab.apiserver.authentication import Authentication
from kproxy.lab.apiserver.control import control
from kproxy.lab.apiserver.discovery import documents
from kproxy.lab.apiserver.faults import Faults
from kproxy.lab.apiserver.handlers import Handlers, Seen
from kproxy.lab.apiserver.manifests import read_manifests
from kproxy.lab.apiserver.resources import NAMESPACE, SERVICE_CIDR, by_kind, by_word
from kproxy.lab.apiserver.store import Store, Stored
from kproxy.lab.apiserver.writing import Writer, copied

CLUSTER_CIDRS: Final = ("10.96.0.0/16", "fd00:10:96::/112")


class ApiServer:
    """An API server in memory.

    ``cidrs``: where ClusterIPs come from, one or two families; told as the ServiceCIDR ``kubernetes``. ``window``: how many
    past changes a kind keeps. ``patience``: seconds to wait for a resourceVersion from the future. ``bookmark_period``:
    seconds between bookmarks.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        cidrs: tuple[str, ...] = CLUSTER_CIDRS,
        window: int = 10_000,
        patience: float = 3.0,
        bookmark_period: float = 60.0,
        tokens: frozenset[str] = frozenset(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host, self.port, self.tls = host, port, tls
        self.store = Store(window)
        self.faults = Faults()
        self.authentication = Authentication(tokens, client_certificates=bool(tls and tls.verify_mode != ssl.CERT_NONE))
        self.writer = Writer(self.store, Allocator())
        self.handlers = Handlers(
            self.store, self.writer, self.faults, self.authentication, patience=patience, bookmark_period=bookmark_period
        )
        self._runner: web.AppRunner | None = None
        for namespace in ("default", "kube-system"):
            self.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": namespace}})
        if cidrs:
            self.writer.put(SERVICE_CIDR, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": list(cidrs)}})

    @property
    def url(self) -> str:
        """Return where the server answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def requests(self) -> deque[Seen]:
        """Return the latest requests, oldest first."""
        return self.handlers.seen

    async def start(self) -> Self:
        """Listen. Port 0 becomes a free port, which stays the server's own after a stop."""
        self._runner = web.AppRunner(
            self.handlers.application(control(self.handlers)), handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        listener = socket.create_server(
            (self.host, self.port), family=socket.AF_INET6 if ":" in self.host else socket.AF_INET
        )
        self.port = listener.getsockname()[1]
        self.handlers.documents = documents(f"{self.host}:{self.port}")
        await web.SockSite(self._runner, listener, ssl_context=self.tls).start()
        return self

    async def stop(self) -> None:
        """Stop listening and drop every connection. What is stored stays: a later start is a restart."""
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def put(self, value: Mapping[str, Any], *, raw: bool = False) -> dict[str, Any]:
        """Create or replace an object; what the server would fill in is filled in. Returns what is stored.

        ``raw``: nothing is filled in and nothing looked at but the name, for objects that a real server would refuse.
        """
        stored = self._put(value, raw=raw)
        return {"kind": value["kind"], "apiVersion": value["apiVersion"], **stored.value}

    def put_all(self, values: Iterable[Mapping[str, Any]]) -> str:
        """Create or replace many objects, cheaper than one by one. Returns the resourceVersion after the last one."""
        for value in values:
            self._put(value, raw=False)
        return str(self.store.version)

    def _put(self, value: Mapping[str, Any], *, raw: bool) -> Stored:
        resource = by_kind(str(value["apiVersion"]), str(value["kind"]))
        if resource is None:
            raise ValueError(f"the lab's API server does not serve kind {value['kind']} of {value['apiVersion']}")
        return self.writer.put(resource, copied(resource, value), raw=raw)

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """Return an object by kind or plural, None where it is absent."""
        resource = by_word(kind)
        stored = self.store.get(resource, namespace, name)
        return None if stored is None else {"kind": resource.kind, "apiVersion": resource.api_version, **stored.value}

    def delete(self, kind: str, name: str, namespace: str = "default") -> bool:
        """Delete an object by kind or plural; False if there was none."""
        resource = by_word(kind)
        return self.writer.remove(resource, resource.key(namespace, name)) is not None

    def load(self, path: Path) -> int:
        """Put every object of a manifest file, and the Namespaces they name. Returns how many."""
        count = 0
        for resource, value in read_manifests(path):
            if resource.namespaced:
                namespace = value["metadata"].setdefault("namespace", "default")
                if self.store.get(NAMESPACE, "", namespace) is None:
                    self.writer.put(NAMESPACE, {"metadata": {"name": namespace}})
            self.writer.put(resource, value)
            count += 1
        return count

    @property
    def watches(self) -> int:
        """Return how many watches are open."""
        return self.handlers.watches

    def compact(self) -> None:
        """Forget history: every older resourceVersion is now too old."""
        self.store.compact()

    def end_watches(self) -> None:
        """End all watches in good order, as at their time-outs."""
        self.handlers.end_watches()

    def cut_watches(self) -> None:
        """Break the connections of all watches."""
        self.handlers.cut_watches()
