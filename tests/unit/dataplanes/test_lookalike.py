# SPDX-License-Identifier: Apache-2.0
"""The look-alikes of kube-proxy's rule sets are not scenery: traffic flows through them."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from kproxy.lab.namespaces import private
from kproxy.table.terms import Family
from tests import lookalike


@contextlib.contextmanager
def _node(family: Family, given: list[lookalike.Service]) -> Iterator[list[socket.socket]]:
    """Give a namespace whose loopback holds every endpoint, listening, and routes all Service addresses."""
    length, services = (32, "10.96.0.0/12") if family is Family.IPV4 else (128, "fd00:10:96::/48")
    with private(), contextlib.ExitStack() as opened:
        endpoints = [endpoint for service in given for endpoint in service.endpoints]
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        unserved = [service.address for service in given if not service.endpoints]  # who refuses must be at home as well
        at_once = [] if family is Family.IPV4 else ["nodad"]  # else the route may come before its source address counts
        for address in [*(address for address, _ in endpoints), *unserved]:
            subprocess.run(["ip", "address", "add", f"{address}/{length}", "dev", "lo", *at_once], check=True)
        subprocess.run(["ip", "route", "add", services, "dev", "lo", "src", endpoints[-1][0]], check=True)
        kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
        yield [opened.enter_context(socket.create_server(endpoint, family=kind)) for endpoint in endpoints]


@pytest.mark.packets
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("tool", ["nft", "iptables-nft", "iptables-legacy"])
def test_dials_reach_the_endpoints(tool: str, family: Family) -> None:
    """Twenty dials of each Service reach its own endpoints and no other's; one without endpoints refuses."""
    none = lookalike.Service("space/none", "10.96.9.9" if family is Family.IPV4 else "fd00:10:96::99", 80, ())
    given = [*lookalike.services(2, 2, family), none]
    with _node(family, given) as listeners:
        text = (lookalike.nftables if tool == "nft" else lookalike.iptables)(given, family)
        tool = tool if family is Family.IPV4 else tool.replace("iptables", "ip6tables")
        load = ["nft", "-f", "-"] if tool == "nft" else [f"{tool}-restore", "--noflush"]
        subprocess.run(load, input=text, text=True, check=True)
        for service in given[:-1]:
            for _ in range(20):
                with socket.create_connection((service.address, service.port), timeout=5):
                    reached = {listener.getsockname()[:2] for listener in listeners if _accepted(listener)}
                    assert reached <= set(service.endpoints)
                    assert len(reached) == 1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((none.address, none.port), timeout=5)


def _accepted(listener: socket.socket) -> bool:
    """Tell whether this listener took the connection."""
    listener.setblocking(False)
    try:
        accepted, _ = listener.accept()
    except BlockingIOError:
        return False
    accepted.close()
    return True
