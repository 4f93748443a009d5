# SPDX-License-Identifier: Apache-2.0
"""A node is taken over from kube-proxy's rules while connections are made, and nobody notices."""

import subprocess
import time
from pathlib import Path

import pytest

from bench.tables import SERVICES, endpoint
from kproxy.dataplanes import upstream
from kproxy.lab.namespaces import inside
from tests import lookalike
from tests.bed import PORT
from tests.faults.daemon import NodeUnderTest

pytestmark = [pytest.mark.packets, pytest.mark.timeout(300)]

FOREIGN = """*filter
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j RETURN
COMMIT
"""


def upstream_services(count: int) -> list[lookalike.Service]:
    """Return the Services of the node under test as kube-proxy would have them."""
    return [
        lookalike.Service(
            name=f"faults/service-{number}",
            address=str(SERVICES[number + 1]),
            port=80,
            endpoints=tuple((endpoint(member).address, PORT) for member in (2 * number, 2 * number + 1)),
        )
        for number in range(count)
    ]


def _load(node: NodeUnderTest, tool: str, services: int) -> None:
    given = upstream_services(services)
    text = lookalike.nftables(given) if tool == "nft" else FOREIGN + lookalike.iptables(given)
    load = ["nft", "-f", "-"] if tool == "nft" else [f"{tool}-restore", "--noflush"]
    with inside(node.bed.node.namespace):
        subprocess.run(load, input=text, text=True, check=True)


def _found(node: NodeUnderTest) -> list[str]:
    with inside(node.bed.node.namespace):
        return upstream.found()


@pytest.mark.parametrize(
    "tools", [("nft",), ("iptables-nft",), ("iptables-legacy",), ("nft", "iptables-nft", "iptables-legacy")]
)
def test_taking_over(tmp_path: Path, tools: tuple[str, ...]) -> None:
    """No dial fails or waits from before kproxy starts until after kube-proxy's last rule is gone; foreign rules stay."""
    node = NodeUnderTest(tmp_path, 20)
    try:
        for tool in tools:
            _load(node, tool, 20)
        assert len(_found(node)) >= len(tools)
        with node.dialling() as counts:
            time.sleep(0.5)
            before = counts[0]
            node.start()
            node.wait_ready()
            deadline = time.monotonic() + 60
            while left := _found(node):
                assert time.monotonic() < deadline, (left, node.log.read_text()[-3000:])
                time.sleep(0.1)
            between = counts[0]
            time.sleep(1.2)
        dials, failures, slow = counts

        assert 0 < before < between < dials
        assert (failures, slow) == (0, 0)
        assert node.differences() == []
        for tool in tools:
            if tool != "nft":
                with inside(node.bed.node.namespace):
                    saved = subprocess.run([f"{tool}-save"], text=True, capture_output=True, check=True).stdout
                assert "-A FORWARD -j DOCKER-USER\n" in saved
                assert "KUBE-" not in saved
    finally:
        node.close()
