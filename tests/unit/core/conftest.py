# SPDX-License-Identifier: Apache-2.0
"""A namespace to work in, and layout F as the nftables mode has it."""

import socket
import struct
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest

from kproxy._core import ElementBatch, NftSocket
from kproxy.lab.namespaces import private

IP: Final = 2  # nftables' number of the family ip
TABLE: Final = "k"

LAYOUT: Final = """
table ip k {
 map services { typeof ip daddr . meta l4proto . th dport : meta priority; counter
  elements = { 10.96.0.1 . tcp . 80 : 0:1 } }
 map counts { typeof ip daddr . meta l4proto . th dport : meta priority
  elements = { 10.96.0.1 . tcp . 80 : 1:3 } }
 map shapes { typeof meta priority : verdict
  elements = { 0:3 : goto lb-3, 1:3 : goto aff-20-3 } }
 map slots { typeof meta priority . numgen random mod 65536 : meta priority
  elements = { 0:1 . 0 : 0:10, 0:1 . 1 : 0:11, 0:1 . 2 : 0:12 } }
 map endpoints { typeof meta priority : ip daddr . th dport; counter
  elements = { 0:10 : 10.200.0.10 . 8080, 0:11 : 10.200.0.11 . 8080, 0:12 : 10.200.0.12 . 8080 } }
 map affinity {
  typeof ip saddr . ip daddr . meta l4proto . th dport : meta priority; flags dynamic,timeout; size 65536; timeout 3h; }
 map small { typeof meta priority : ip daddr . th dport; size 3; }
 set sources { type ipv4_addr . inet_proto . inet_service . ipv4_addr; flags interval; }
 chain finish { meta l4proto { tcp, udp, sctp } dnat ip to meta priority map @endpoints; }
 chain lb-3 {
  meta priority set ip daddr . meta l4proto . th dport map @services \\
  meta priority set meta priority . numgen random mod 3 map @slots jump finish
 }
 chain aff-20-3 {
  meta priority set ip saddr . ip daddr . meta l4proto . th dport map @affinity \\
  update @affinity { ip saddr . ip daddr . meta l4proto . th dport timeout 20s : meta priority } jump finish
  goto lb-3
 }
 chain dispatch { meta priority set ip daddr . meta l4proto . th dport map @counts meta priority vmap @shapes; }
 chain out { type nat hook output priority -100; jump dispatch; }
 chain post { type nat hook postrouting priority 100;
  ct status dnat meta priority set 0:0
  ct status dnat masquerade
 }
}
"""


def nft(*words: str, text: str | None = None) -> str:
    """Run the ``nft`` command in the thread's namespace."""
    return subprocess.run(["nft", *words], input=text, text=True, capture_output=True, check=True).stdout


def frontend(address: str, port: int, protocol: int = 6) -> bytes:
    """Encode ``daddr . l4proto . dport``."""
    return socket.inet_aton(address) + bytes([protocol, 0, 0, 0]) + struct.pack(">H2x", port)


def endpoint(address: str, port: int) -> bytes:
    """Encode ``daddr . dport``."""
    return socket.inet_aton(address) + struct.pack(">H2x", port)


def number(*values: int) -> bytes:
    """Encode what nftables holds in the machine's order: priorities and slots."""
    return b"".join(struct.pack("=I", value) for value in values)


def batch() -> ElementBatch:
    """Return an empty batch for the layout's table."""
    return ElementBatch(IP, TABLE)


@pytest.fixture
def namespace() -> Iterator[None]:
    """Put the test into an empty network namespace."""
    with private():
        yield


@pytest.fixture
def layout(namespace: None) -> None:
    """Load layout F."""
    nft("-f", "-", text=LAYOUT)


@pytest.fixture
def door(layout: None) -> NftSocket:
    """Open a socket where layout F is loaded."""
    return NftSocket()
