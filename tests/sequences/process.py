# SPDX-License-Identifier: Apache-2.0
"""kproxy as a process of its own on the node that the packet suite plays, with a directory as its cluster."""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from kproxy.objects.decode import API_VERSIONS, kind_of
from kproxy.objects.events import Upsert
from tests.sequences.stage import THIS

PATIENCE: Final = 20.0  # seconds on a busy machine; what takes longer is broken
FLAGS: Final = (
    "--proxy-mode=nftables",
    f"--hostname-override={THIS}",
    "--cluster-cidr=10.0.0.0/8,fd00:10::/32",
    "--nodeport-addresses=192.168.0.0/24",
    "--iptables-min-sync-period=10ms",
    "--conntrack-max-per-core=0",  # the table's size is the whole machine's
    "--oom-score-adj=0",
)


def until(true: Callable[[], bool], words: Callable[[], str]) -> None:
    """Wait for something to come true; fail with ``words`` when it does not."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, words()
        time.sleep(0.02)


def status(address: str, port: int, path: str = "/") -> int:
    """Return the status of an HTTP answer; 0 when there is none."""
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


class Process:
    """The daemon and its manifests, in the network namespace of the calling thread."""

    def __init__(self, directory: Path) -> None:
        self._manifests = directory / "manifests"
        self._manifests.mkdir()
        self._log = directory / "log"
        self._running: subprocess.Popen[bytes] | None = None

    def write(self, name: str, *items: Upsert) -> None:
        """Make one file of the directory say this, all at once."""
        listed = [{"apiVersion": API_VERSIONS[kind_of(item.object)], **msgspec.to_builtins(item.object)} for item in items]
        fresh = self._manifests / f".{name}"
        fresh.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": listed}), encoding="utf-8")
        fresh.rename(self._manifests / f"{name}.json")

    def words(self) -> str:
        """Return the end of what the daemon has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def start(self) -> None:
        """Start it and wait until it says that its table is in force."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "kproxy", f"--manifests={self._manifests}", *FLAGS]
            self._running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        running = self._running

        def ready() -> bool:
            assert running.poll() is None, self.words()
            return status("127.0.0.1", 10256, "/readyz") == 200

        until(ready, self.words)

    def end(self, by: signal.Signals = signal.SIGKILL) -> int:
        """End it by a signal, if it runs, and return its exit code."""
        if self._running is None:
            return 0
        self._running.send_signal(by)
        code = self._running.wait(PATIENCE)
        self._running = None
        return code
