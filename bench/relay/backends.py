# SPDX-License-Identifier: Apache-2.0
"""The servers behind every relay: nginx, iperf3, sockperf, an echo of datagrams, and one that only holds connections."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.relay.bed import Bed
from bench.relay.datagrams import ECHO
from bench.relay.programs import running
from bench.relay.services import BACKENDS, BULK, DATAGRAMS, IDLE, MESSAGES, WEB, Place

BIG: Final = "big"
_BIG_BYTES: Final = 4 << 20
_NGINX: Final = """\
worker_processes 2; daemon off; pid {folder}/backend.pid; error_log {folder}/backend.log; user root;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 1h; default_type text/plain;
  open_file_cache max=8; sendfile on; tcp_nopush off;
  server {{ listen {port} reuseport backlog=65535; root {folder}; location = / {{ return 200 "ok\\n"; }} }}
}}
"""


@contextlib.contextmanager
def backends(bed: Bed, folder: Path) -> Iterator[None]:
    """Serve every service on the backend host while the block lasts."""
    (folder / BIG).write_bytes(b"\0" * _BIG_BYTES)
    configuration = folder / "backend.conf"
    configuration.write_text(_NGINX.format(folder=folder, port=WEB.port))
    commands = {
        WEB: ["nginx", "-p", str(folder), "-c", str(configuration)],
        BULK: ["iperf3", "--server", "--port", str(BULK.port)],
        MESSAGES: ["sockperf", "server", "--tcp", "--ip", "0.0.0.0", "--port", str(MESSAGES.port)],
        DATAGRAMS: [str(ECHO), "echo", *DATAGRAMS.endpoints()],
        IDLE: [sys.executable, "-m", "bench.relay.holder", "accept", str(IDLE.port)],
    }
    with contextlib.ExitStack() as stack:
        for service, command in commands.items():
            log = folder / f"backend-{service.name}.log"
            stack.enter_context(running(bed.backend, command, log, listens=[Place(service, BACKENDS[0], service.port)]))
        yield
