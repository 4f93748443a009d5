# SPDX-License-Identifier: Apache-2.0
"""A host with an address, and on it the daemon as a process."""

import http.client
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kproxy.lab.host import Host
from kproxy.lab.namespaces import inside

NODE = "172.20.0.1"
API_PORT = 8001
FLAGS = (
    "--hostname-override=n1",
    "--cluster-cidr=10.244.0.0/16",
    f"--nodeport-addresses={NODE}/32",
    "--conntrack-max-per-core=0",
    "--conntrack-tcp-timeout-established=0s",
    "--conntrack-tcp-timeout-close-wait=0s",
    "--oom-score-adj=0",
    "--iptables-min-sync-period=10ms",
)


def service(name: str, address: str, **spec: Any) -> dict[str, Any]:
    """Return the manifest of a Service with one TCP port."""
    ports = [{"name": "http", "port": 80, "protocol": "TCP", **({"nodePort": 30080} if spec.get("type") else {})}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"clusterIP": address, "ports": ports, **spec},
    }


def endpoint_slice(name: str, *addresses: str) -> dict[str, Any]:
    """Return the manifest of a Service's only slice; the endpoints are on the node under test."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "shop", "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "nodeName": "n1"} for address in addresses],
    }


class Node:
    """A host with an address, a directory of manifests, and a daemon that comes and goes."""

    def __init__(self, directory: Path) -> None:
        self.host = Host("h-node")
        self.host.ip("link add eth0 type veth peer name eth1", f"addr add {NODE}/24 dev eth0", "link set eth0 up")
        self.manifests = directory / "manifests"
        self.manifests.mkdir()
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, *objects: dict[str, Any], name: str = "all.json") -> None:
        """Have these objects, and no others of the file."""
        fresh = self.manifests / f".{name}"
        fresh.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        fresh.rename(self.manifests / name)

    def start(self, *flags: str, wrapper: Sequence[str] = (), manifests: bool = True, ready: bool = True) -> None:
        """Start the daemon and, unless told not to, wait until it is ready."""
        source = [f"--manifests={self.manifests}"] if manifests else []
        with inside(self.host.namespace), self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", "kproxy", *source, *flags], stdout=log, stderr=log
            )
        if ready:
            self.until(lambda: self.page("/readyz", 10256)[0] == 200)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon and return its exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(10)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a kproxy command on the host."""
        with inside(self.host.namespace):
            return subprocess.run(
                [sys.executable, "-m", "kproxy", *arguments], capture_output=True, text=True, check=False, timeout=60
            )

    def nft(self, *arguments: str) -> str:
        """Run an nft command on the host."""
        with inside(self.host.namespace):
            return subprocess.run(["nft", *arguments], capture_output=True, text=True, check=True).stdout

    def send(self, method: str, path: str, body: object) -> None:
        """Write an object to the API server on the host."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        with inside(self.host.namespace):
            connection = http.client.HTTPConnection("127.0.0.1", API_PORT, timeout=10)
            connection.request(method, path, json.dumps(body), {"Content-Type": kind})
        answer = connection.getresponse()
        words = answer.read()
        assert answer.status < 300, words
        connection.close()

    def page(self, path: str, port: int = 10249, address: str = "127.0.0.1") -> tuple[int, str]:
        """Fetch a page; status 0 when nobody answers."""
        with inside(self.host.namespace):
            try:
                with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()
            except OSError:
                return 0, ""

    def until(self, condition: Callable[[], bool], patience: float = 20.0) -> None:
        """Wait for something; the daemon's log explains what did not come."""
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            assert self.process is None or self.process.poll() is None, self.log.read_text()[-4000:]
            time.sleep(0.02)

    def close(self) -> None:
        """End what still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.host.close()
