# SPDX-License-Identifier: Apache-2.0
"""The packet suite sees what a kernel does, held against rules written by hand: a suite that cannot fail proves nothing."""

import subprocess
from collections.abc import Iterator

import pytest

from kproxy.table.errors import KernelError
from kproxy.table.terms import Protocol
from tests.conformance.packets.dial import Dial, Dialler, Met
from tests.conformance.packets.node import LOCAL, Node, playing_node

pytestmark = pytest.mark.packets

NODE4, NODE6, POD4, POD6 = "192.168.0.2", "2001:db8::1", "10.180.0.1", "fd00:10::1"
CLIENT4, CLIENT6 = "203.0.113.2", "2600:5200::1"
RULES = """
table inet hand {
    chain translate {
        meta l4proto { tcp, udp, sctp } ip daddr 172.30.0.1 dnat ip to 10.180.0.1:8080
        meta l4proto { tcp, udp, sctp } ip6 daddr fd00:172::1 dnat ip6 to [fd00:10::1]:8080
        meta l4proto { tcp, udp, sctp } ip daddr 172.30.0.2 dnat ip to 192.168.0.2:8080
        meta l4proto { tcp, udp, sctp } ip6 daddr fd00:172::2 dnat ip6 to [2001:db8::1]:8080
    }
    chain judge {
        ip daddr 172.30.0.3 reject
        ip6 daddr fd00:172::3 reject
        ip daddr 172.30.0.4 drop
        ip6 daddr fd00:172::4 drop
    }
    chain prerouting { type nat hook prerouting priority -100; jump translate; }
    chain output { type nat hook output priority -100; jump translate; }
    chain postrouting { type nat hook postrouting priority 100; ct status dnat meta l4proto udp masquerade; }
    chain forward { type filter hook forward priority 0; jump judge; }
    chain sent { type filter hook output priority 0; jump judge; }
}
"""


@pytest.fixture
def node() -> Iterator[Node]:
    """Play a node with the rules above."""
    with playing_node([NODE4, NODE6], {"pods0": [POD4, POD6]}, "eth0") as node:
        subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
        node.listen(NODE4, 8080)
        node.listen(NODE6, 8080)
        yield node


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("where", ["pods0", "eth0", LOCAL])
@pytest.mark.parametrize(
    ("pod", "outside", "own", "vip"), [(POD4, CLIENT4, NODE4, "172.30.0."), (POD6, CLIENT6, NODE6, "fd00:172::")]
)
def test_every_verdict_is_seen(
    node: Node, protocol: Protocol, where: str, pod: str, outside: str, own: str, vip: str
) -> None:
    """Translation to a Pod and to the node itself, reject, drop, and being left alone, from every kind of client."""
    source = {"pods0": pod, "eth0": outside, LOCAL: own}[where]
    bracket = f"[{pod}]" if ":" in pod else pod
    host = f"[{own}]" if ":" in own else own
    dials = [Dial(source, where, f"{vip}{last}", 80, protocol) for last in range(1, 6)]

    outcomes = Dialler(node).dial([*dials, Dial(source, where, own, 9999, protocol)])

    assert [outcome.odd for outcome in outcomes] == [""] * 6
    assert [(outcome.met, outcome.endpoint) for outcome in outcomes] == [
        (Met.ENDPOINT, f"{bracket}:8080"),
        (Met.ENDPOINT, f"{host}:8080"),
        (Met.REJECT, ""),
        (Met.DROP, ""),
        (Met.NONE, ""),
        (Met.NONE, ""),
    ]
    assert outcomes[0].source == (own if protocol is Protocol.UDP else source)


def test_an_answer_that_is_lost_is_seen(node: Node) -> None:
    """A translation whose way back is broken is no connection."""
    subprocess.run(["nft", "add rule inet hand forward ct direction reply drop"], check=True)

    (outcome,) = Dialler(node).dial([Dial(CLIENT4, "eth0", "172.30.0.1", 80, Protocol.TCP)])

    assert (outcome.met, outcome.odd) == (Met.ENDPOINT, "the answer of 10.180.0.1:8080 did not come back")


def test_a_node_that_drops_everything_is_an_error_not_a_verdict(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is only called DROP when packets beside it pass."""
    monkeypatch.setattr("tests.conformance.packets.node.PATIENCE", 0.2)
    subprocess.run(["nft", "add rule inet hand forward ip daddr != 10.0.0.0/8 drop"], check=True)

    with pytest.raises(KernelError, match="drop too much"):
        Dialler(node).dial([Dial(CLIENT4, "eth0", "172.30.0.4", 80, Protocol.TCP)])
