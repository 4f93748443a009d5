# SPDX-License-Identifier: Apache-2.0
"""The relays that ours is measured against, each told only where to listen and whom to dial."""

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.relay.bed import Bed
from bench.relay.programs import running
from bench.relay.services import Place
from kproxy.lab.namespaces import inside
from kproxy.table.terms import Protocol

THREADS: Final = 2
_IP_TRANSPARENT: Final = 19
_STREAM_MODULE: Final = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
_SPLICE: Final = ("  option splice-request", "  option splice-response")


@contextlib.contextmanager
def haproxy(bed: Bed, name: str, places: Sequence[Place], folder: Path, *, splice: bool = False) -> Iterator[int]:
    """Run HAProxy with its defaults, or with splicing allowed both ways. It relays no UDP."""
    places = [place for place in places if place.service.protocol is Protocol.TCP]
    lines = ["global", f"  nbthread {THREADS}", "  maxconn 7000", "defaults", "  mode tcp", "  timeout connect 5s"]
    lines += ["  timeout client 1h", "  timeout server 1h", *(_SPLICE if splice else ())]
    for place in places:
        transparent = " transparent" if place.transparent else ""
        lines += [f"listen {place.service.name}", f"  bind {place.address}:{place.port}{transparent}"]
        lines += [f"  server s{number} {endpoint}" for number, endpoint in enumerate(place.service.endpoints())]
    configuration = folder / f"{name}.cfg"
    configuration.write_text("\n".join(lines) + "\n")
    with running(bed.proxy, ["haproxy", "-db", "-f", str(configuration)], folder / f"{name}.log", listens=places) as program:
        yield program.pid


@contextlib.contextmanager
def nginx(bed: Bed, name: str, places: Sequence[Place], folder: Path) -> Iterator[int]:
    """Run nginx's stream module with the buffers of its documentation and a listener a worker."""
    lines = [f"load_module {_STREAM_MODULE};" if _STREAM_MODULE.exists() else ""]
    lines += [f"worker_processes {THREADS}; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.errors;"]
    lines += ["user root; events { worker_connections 16384; }", "stream {", "  proxy_buffer_size 16k; proxy_timeout 1h;"]
    for place in places:
        servers = " ".join(f"server {endpoint};" for endpoint in place.service.endpoints())
        udp = " udp" if place.service.protocol is Protocol.UDP else ""
        backlog = "" if udp else " backlog=65535"
        lines += [f"  upstream {place.service.name} {{ {servers} }}"]
        listen = f"listen {place.address}:{place.port}{udp} reuseport{backlog};"
        lines += [f"  server {{ {listen} proxy_pass {place.service.name}; }}"]
    configuration = folder / f"{name}.conf"
    configuration.write_text("\n".join([*lines, "}"]) + "\n")
    command = ["nginx", "-p", str(folder), "-c", str(configuration)]
    log = folder / f"{name}.log"
    with contextlib.ExitStack() as stack:
        inherited = [stack.enter_context(each) for each in _transparent_listeners(bed, places)]
        descriptors = [each.fileno() for each in inherited]
        environment = {**os.environ, "NGINX": "".join(f"{descriptor};" for descriptor in descriptors)}
        program = running(
            bed.proxy,
            command,
            log,
            listens=places,
            environment=environment if descriptors else None,
            descriptors=descriptors,
        )
        yield stack.enter_context(program).pid


def _transparent_listeners(bed: Bed, places: Sequence[Place]) -> Iterator[socket.socket]:
    """Open the transparent listeners, one a worker, that nginx cannot open itself but takes over as after an upgrade."""
    for place in places:
        if place.transparent and place.service.protocol is Protocol.TCP:
            for _ in range(THREADS):
                with inside(bed.proxy.namespace):
                    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
                listener.bind((place.address, place.port))
                listener.listen(65_535)
                listener.setblocking(False)
                yield listener
