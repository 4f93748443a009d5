# SPDX-License-Identifier: Apache-2.0
"""``kproxy explain SRC DST:PORT/PROTO``: what this packet meets on this node, and why."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from kproxy.cli.asking import ask
from kproxy.table.addresses import parse_address
from kproxy.table.errors import KproxyError
from kproxy.table.interpret import Packet
from kproxy.table.terms import Protocol

DESTINATION: Final = re.compile(r"(?:\[(?P<six>[^]]+)\]|(?P<four>[^:]+)):(?P<port>\d+)(?:/(?P<protocol>\w+))?")


def parse_packet(source: str, destination: str, interface: str = "") -> Packet:
    """Read ``10.0.0.1`` and ``10.96.0.10:53/UDP`` or ``[fd00::1]:80``. Raises KproxyError with the mend."""
    match = DESTINATION.fullmatch(destination)
    if match is None:
        raise KproxyError(f"{destination!r} is no DST:PORT/PROTO: write 10.96.0.10:53/UDP or [fd00::a]:80")
    try:
        protocol = Protocol((match["protocol"] or "TCP").upper())
    except ValueError:
        raise KproxyError(f"{match['protocol']!r} is no protocol of a Service: write TCP, UDP or SCTP") from None
    port = int(match["port"])
    if not 0 < port < 1 << 16:
        raise KproxyError(f"port {port} does not exist: write 1 to 65535")
    try:
        here, there = str(parse_address(source)), str(parse_address(match["six"] or match["four"]))
    except ValueError as error:
        raise KproxyError(f"{error}: write plain IP addresses") from None
    return Packet(here, there, port, protocol, interface)


def main(arguments: Sequence[str]) -> int:
    """Ask and print."""
    parser = argparse.ArgumentParser(
        prog="kproxy explain",
        description="Name what a packet meets on this node: route, frontend, policy, the endpoints it may be sent to with "
        "their probabilities, whether its source is rewritten, and why each other endpoint is left out.",
        epilog="example: kproxy explain 10.244.1.7 10.96.0.10:53/UDP",
    )
    parser.add_argument("source", metavar="SRC", help="the client's address")
    parser.add_argument("destination", metavar="DST:PORT/PROTO", help="what it dials; PROTO is TCP where left out")
    parser.add_argument("--interface", default="", help="the interface the packet enters by; left out: made on this node")
    parser.add_argument("--manifests", metavar="DIR", help="ask no daemon: resolve these Services and EndpointSlices")
    parser.add_argument("--node", default="", help="with --manifests: the name of the node to stand on")
    parser.add_argument("--cluster-cidr", default="", help="with --manifests: the CIDRs by which Pods are told")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    given = parser.parse_args(arguments)
    packet = parse_packet(given.source, given.destination, given.interface)
    if given.manifests:
        print(_from_manifests(packet, given), end="")
    else:
        query = {name: str(value) for name, value in msgspec.to_builtins(packet).items()}
        print(ask("/explain", {**query, "output": given.output}), end="")
    sys.stdout.flush()
    return 0


def _from_manifests(packet: Packet, given: argparse.Namespace) -> str:
    from kproxy.cli.offline import resolve_manifests  # noqa: PLC0415 - asking a daemon starts faster without
    from kproxy.observe.explain import as_text, explain, service_of  # noqa: PLC0415
    from kproxy.routing.trace import trace_service  # noqa: PLC0415

    flags = [f"--hostname-override={given.node}"] if given.node else []
    router = resolve_manifests(given.manifests, [*flags, f"--cluster-cidr={given.cluster_cidr}"])
    name = service_of(packet, router.table)
    shape = router.store.services.get(name)
    traces = trace_service(shape, router.store.slices_of(name), router.view) if shape else ()
    try:
        explanation = explain(packet, router.table, {trace.key: trace for trace in traces})
    except ValueError as error:
        raise KproxyError(str(error)) from None
    if given.output == "json":
        return msgspec.json.encode(explanation, enc_hook=str).decode() + "\n"
    return as_text(explanation)
