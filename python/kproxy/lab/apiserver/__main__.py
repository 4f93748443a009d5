# SPDX-License-Identifier: Apache-2.0
"""``python -m kproxy.lab.apiserver``: the server on its own."""

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from kproxy.lab.apiserver.authentication import tls_context
from kproxy.lab.apiserver.server import CLUSTER_CIDRS, ApiServer
from kproxy.table.errors import KproxyError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kproxy.lab.apiserver", description="An API server in memory.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one, printed at start)")
    parser.add_argument("--load", type=Path, nargs="+", default=(), metavar="FILE", help="manifests to start with")
    parser.add_argument("--cidr", nargs="+", default=CLUSTER_CIDRS, help="where ClusterIPs come from (default: %(default)s)")
    parser.add_argument("--bookmark-period", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--token", action="append", default=[], help="a bearer token to let in (default: let everybody in)")
    parser.add_argument("--certificate", type=Path, help="PEM file: serve TLS with this certificate")
    parser.add_argument("--key", type=Path, help="PEM file: the certificate's key")
    parser.add_argument("--client-ca", type=Path, help="PEM file: let in whoever shows a certificate signed by it")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    tls = tls_context(arguments.certificate, arguments.key, arguments.client_ca) if arguments.certificate else None
    server = ApiServer(
        host=arguments.host,
        port=arguments.port,
        cidrs=tuple(arguments.cidr),
        bookmark_period=arguments.bookmark_period,
        tokens=frozenset(arguments.token),
        tls=tls,
    )
    loaded = sum(server.load(path) for path in arguments.load)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with server:
        print(f"{server.url} serves {loaded} objects", flush=True)
        await stopped.wait()


def main() -> int:
    """Serve until a signal comes."""
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_run(_arguments()))
    except (KproxyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
