# SPDX-License-Identifier: Apache-2.0
"""A connection tracker full of UDP flows, put there by ctnetlink as if packets had come."""

import contextlib
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

_NETFILTER: Final = 12  # NETLINK_NETFILTER
_NEW: Final = 0x100  # IPCTNL_MSG_CT_NEW
_FLAGS: Final = 0x601  # NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
_SEEN_AND_ASSURED: Final = 0b1110  # IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED: what never gives way to a new flow
_BATCH: Final = 400
_LIMIT: Final = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_COUNT: Final = Path("/proc/sys/net/netfilter/nf_conntrack_count")


class FakeFlow(NamedTuple):
    """Who sent where, and who answers: addresses of four bytes and ports of two."""

    source: bytes
    source_port: bytes
    destination: bytes
    port: bytes
    answered_by: bytes
    answered_port: bytes


def _attribute(kind: int, content: bytes) -> bytes:
    padding = b"\0" * (-len(content) % 4)
    return struct.pack("=HH", 4 + len(content), kind) + content + padding


def _tuple(kind: int, source: bytes, source_port: bytes, destination: bytes, port: bytes) -> bytes:
    addresses = _attribute(1, source) + _attribute(2, destination)
    protocol = _attribute(1, bytes([socket.IPPROTO_UDP])) + _attribute(2, source_port) + _attribute(3, port)
    return _attribute(kind | 0x8000, _attribute(1 | 0x8000, addresses) + _attribute(2 | 0x8000, protocol))


def _message(flow: FakeFlow) -> bytes:
    body = (
        bytes([socket.AF_INET, 0, 0, 0])
        + _tuple(1, flow.source, flow.source_port, flow.destination, flow.port)
        + _tuple(2, flow.answered_by, flow.answered_port, flow.source, flow.source_port)
        + _attribute(3, struct.pack(">I", _SEEN_AND_ASSURED))
        + _attribute(7, struct.pack(">I", 3600))
    )
    return struct.pack("=IHHII", 16 + len(body), _NEW, _FLAGS, 0, 0) + body


def track(flows: Iterable[FakeFlow]) -> None:
    """Have the thread's namespace track flows. Raises OSError where the kernel refuses one."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as ctnetlink:
        ctnetlink.bind((0, 0))
        pending: list[bytes] = []
        for flow in flows:
            pending.append(_message(flow))
            if len(pending) == _BATCH:
                ctnetlink.send(b"".join(pending))
                pending.clear()
        if pending:
            ctnetlink.send(b"".join(pending))
        with contextlib.suppress(BlockingIOError):
            refusal = ctnetlink.recv(4096, socket.MSG_DONTWAIT)
            raise OSError(-struct.unpack_from("=i", refusal, 16)[0], "a flow was refused")


def tracked() -> int:
    """Return how many flows the thread's namespace tracks."""
    return int(_COUNT.read_text())


@contextlib.contextmanager
def room_for(flows: int) -> Iterator[None]:
    """Raise the kernel's limit of tracked flows for a while; it is the initial namespace's to give."""
    before = int(_LIMIT.read_text())
    _LIMIT.write_text(str(max(before, flows)))
    try:
        yield
    finally:
        _LIMIT.write_text(str(before))
