# SPDX-License-Identifier: Apache-2.0
"""kube-proxy's leftovers are found and removed, and nobody else's rules change by a byte."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kproxy.dataplanes.upstream import chains, connections, found, ipvs, names, remove
from kproxy.kernel.ipvs_values import Operation, RealServer, ServerKey, VirtualServer
from kproxy.kernel.xtables import Kind, Xtables, parse_save
from kproxy.lab.namespaces import private
from kproxy.table.errors import KernelError
from kproxy.table.terms import Family, Protocol
from tests import lookalike
from tests.unit.kernel.memory_ipvs import MemoryIpvs

# What other programs keep on a node, between and around kube-proxy's rules.
DOCKER = """*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {net} ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -m comment --comment "kubernetes is \\"not\\" -j KUBE-SERVICES" -j RETURN
COMMIT
"""
KUBELET = """*mangle
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -m mark --mark 0x8000/0x8000 -j DROP
COMMIT
"""
POLICIES = """*filter
:KUBE-POD-FW-ABCDEFGH23456722 - [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
:KUBE-SVC-NOT-A-HASH - [0:0]
:KUBE-SVC-ABCDEFGHIJKLMNOP - [0:0]
-A FORWARD -m comment --comment "kubernetes network policy" -j KUBE-NWPLCY-DEFAULT
-A KUBE-NWPLCY-DEFAULT -j KUBE-POD-FW-ABCDEFGH23456722
COMMIT
*nat
:KUBE-SVC-SHORT - [0:0]
COMMIT
"""
BUILT_IN = """*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
"""
PLUGIN = """*nat
:CNI-HOSTPORT - [0:0]
-A PREROUTING -j CNI-HOSTPORT
-A CNI-HOSTPORT -s 10.1.0.0/16 -j KUBE-MARK-MASQ
COMMIT
"""
FIREWALLD = """table inet firewalld {
  chain filter_INPUT { type filter hook input priority 10; policy accept; ct state established accept; }
  chain nat_PREROUTING { type nat hook prerouting priority -90; policy accept; }
}
table ip kube-proxy-not {
  chain services { counter packets 0 bytes 0 accept; }
}
table inet kube-proxy {
  chain services { accept; }
}
"""


def _apply(tool: str, text: str) -> None:
    arguments = [tool, "-f", "-"] if tool == "nft" else [f"{tool}-restore", "--noflush"]
    done = subprocess.run(arguments, input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def _listing(*tool: str) -> str:
    shown = subprocess.run(tool, text=True, capture_output=True, check=True).stdout
    return "".join(line for line in shown.splitlines(keepends=True) if not line.startswith("#"))


def _everything() -> dict[str, list[str]]:
    listings = {str(xtables): _listing(f"{xtables}-save", "-c").splitlines() for xtables in Xtables.every()}
    listings["nft"] = _listing("nft", "list", "ruleset").splitlines()
    listings["ipset"] = sorted(_listing("ipset", "save").splitlines())  # which come in no order of their own
    return listings


def _net(family: Family) -> str:
    return "172.17.0.0/16" if family is Family.IPV4 else "fd00:17::/64"


def _foreign() -> None:
    for xtables in Xtables.every():
        for text in (DOCKER.format(net=_net(xtables.family)), KUBELET, POLICIES):
            _apply(str(xtables), text)
    _apply("nft", FIREWALLD)
    subprocess.run(["ipset", "create", "KUBE-MINE", "hash:ip", "initval", "0x1"], check=True)


def _upstream() -> None:
    for family, lonely in ((Family.IPV4, "10.9.9.9"), (Family.IPV6, "fd00:9::9")):
        given = [*lookalike.services(4, 3, family), lookalike.Service("space/none", lonely, 80, ())]
        _apply("nft", lookalike.nftables(given, family))
        for kind in Kind:
            _apply(str(Xtables(family, kind)), lookalike.iptables(given, family))
    for name in ("KUBE-LOOP-BACK", "KUBE-6-CLUSTER-IP"):
        subprocess.run(["ipset", "create", name, "hash:ip"], check=True)


def _built_in() -> None:
    """Have every built-in chain exist, as on a node that runs for a while, so that listings compare."""
    for xtables in Xtables.every():
        _apply(str(xtables), BUILT_IN)


@pytest.mark.packets
@pytest.mark.parametrize("order", [(_foreign, _upstream), (_upstream, _foreign)], ids=["foreign", "kube-proxy"])
def test_nobody_elses_rules_change(order: tuple[Callable[[], None], ...]) -> None:
    """Beside Docker, firewalld, kubelet and a policy engine, kube-proxy's rules go and not a byte of the others'."""
    with private():
        _built_in()
        _foreign()
        alone = _everything()
    with private():
        _built_in()
        for build in order:
            build()

        seen = "\n".join(found())
        removal = remove()

        assert all(word in seen for word in ("table ip kube-proxy", "table ip6 kube-proxy", "2 ipsets"))
        assert seen.count("chains and 3 jumps in table nat") == seen.count("chains and 9 jumps in table filter") == 4
        assert (removal.errors, removal.kept) == ((), ())
        assert found() == []
        assert not remove().done
        assert _everything() == alone


@pytest.mark.packets
def test_a_chain_that_others_use_stays() -> None:
    """A CNI plugin's jump to KUBE-MARK-MASQ keeps that chain and its rule; everything else goes, and the report says so."""
    with private():
        given = lookalike.services(2, 2)
        _apply("iptables-nft", lookalike.iptables(given))
        _apply("iptables-nft", PLUGIN)

        removal = remove()

        nat = Xtables(Family.IPV4, Kind.NFT).save()["nat"]
        assert {chain for chain in nat.chains if chain.startswith("KUBE-")} == {"KUBE-MARK-MASQ"}
        assert [rule.chain for rule in nat.rules] == ["PREROUTING", "CNI-HOSTPORT", "KUBE-MARK-MASQ"]
        assert len(removal.kept) == 1
        assert "iptables-nft: chain KUBE-MARK-MASQ of table nat stays" in removal.kept[0]
        assert found() == []


@pytest.mark.packets
def test_errors_are_collected() -> None:
    """A set that a foreign rule still uses is named in an error, and the rest goes nevertheless."""
    with private():
        _apply("nft", lookalike.nftables(lookalike.services(1, 1)))
        subprocess.run(["ipset", "create", "KUBE-LOOP-BACK", "hash:ip"], check=True)
        subprocess.run(["ipset", "create", "KUBE-CLUSTER-IP", "hash:ip"], check=True)
        _apply("iptables-nft", "*filter\n-A INPUT -m set --match-set KUBE-LOOP-BACK src -j DROP\nCOMMIT\n")

        removal = remove()

        assert [str(error).partition(":")[0] for error in removal.errors] == ["ipset destroy KUBE-LOOP-BACK"]
        assert removal.done == ("nftables: table ip kube-proxy deleted", "ipset KUBE-CLUSTER-IP destroyed")


@pytest.mark.packets
def test_a_tool_that_cannot_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken tool hides nothing that another one sees; alone it is an error, so that nobody takes it for a clean node."""
    (tmp_path / "ip6tables-nft-save").write_text("#!/bin/sh\necho Illegal instruction >&2; exit 4\n", encoding="utf-8")
    (tmp_path / "ip6tables-nft-save").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with private():
        with pytest.raises(KernelError, match="ip6tables-nft-save: Illegal instruction"):
            found()
        _apply("nft", lookalike.nftables(lookalike.services(1, 1)))

        assert found() == ["nftables: table ip kube-proxy"]
        assert [str(error) for error in remove().errors] == ["ip6tables-nft-save: Illegal instruction"]


@pytest.mark.packets
def test_a_clean_node() -> None:
    """Where kube-proxy never was, nothing is found, nothing done, and no table appears by looking."""
    with private():
        assert found() == []
        assert remove().done == ()
        assert _listing("nft", "list", "ruleset") == ""
        assert Path("/proc/thread-self/net/ip_tables_names").read_text(encoding="ascii") == ""


def test_kept_chains_keep_what_they_lead_to() -> None:
    """A chain that a foreign rule points to stays whole: the chains its own rules lead to stay as well."""
    table = parse_save(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n"
        ":X - [0:0]\n"
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
        "-A KUBE-SERVICES -j KUBE-NODEPORTS\n-A X -g KUBE-SERVICES\nCOMMIT\n"
    )["nat"]

    item = chains.leftovers("nat", table)

    assert item.chains == ("KUBE-POSTROUTING",)
    assert item.kept == {"KUBE-SERVICES": "X -g KUBE-SERVICES"}
    assert (
        chains.unlink([item]).splitlines()[1]
        == '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
    )


@pytest.mark.parametrize(
    ("table", "chain", "own"),
    [
        ("nat", "KUBE-SVC-ABCDEFGHIJ234567", True),
        ("nat", "KUBE-XLB-ABCDEFGHIJ234567", True),
        ("nat", "KUBE-SVC-ABCDEFGHIJ23456", False),
        ("nat", "KUBE-SVC-abcdefghij234567", False),
        ("filter", "KUBE-SVC-ABCDEFGHIJ234567", False),
        ("filter", "KUBE-FIREWALL", False),
        ("nat", "KUBE-MARK-DROP", False),
        ("mangle", "KUBE-PROXY-CANARY", True),
        ("mangle", "KUBE-KUBELET-CANARY", False),
        ("filter", "KUBE-IPVS-FILTER", True),
        ("filter", "KUBE-ROUTER-INPUT", False),
    ],
)
def test_names(table: str, chain: str, own: bool) -> None:
    """Chains are told by their whole name, in their own table."""
    assert names.is_chain(table, chain) is own


def test_virtual_servers() -> None:
    """Of the host's virtual servers only those on the device's addresses and on known NodePorts are kube-proxy's."""
    own = [
        ServerKey.at(Protocol.TCP, "10.96.0.1", 443),
        ServerKey.at(Protocol.UDP, "10.96.0.10", 53),
        ServerKey.at(Protocol.TCP, "fd00::1", 80),
        ServerKey.at(Protocol.TCP, "192.0.2.1", 30080),
        ServerKey.at(Protocol.SCTP, "10.96.0.1", 9),
    ]
    foreign = [
        ServerKey.at(Protocol.TCP, "192.0.2.1", 8080),
        ServerKey.at(Protocol.UDP, "192.0.2.1", 30080),
        ServerKey.marked(Family.IPV4, 7),
    ]
    addresses = {"10.96.0.1", "10.96.0.10", "fd00::1"}

    assert ipvs.own_servers([*own, *foreign], addresses, {Protocol.TCP: {30080}}) == own
    assert ipvs.parse_members("create KUBE-NODE-PORT-TCP bitmap:port range 0-65535\nadd KUBE-NODE-PORT-TCP 30080\n") == {
        30080
    }
    assert all(len(name) <= 31 for name in names.SETS)


@pytest.mark.packets
def test_ipvs_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers, device and sets of IPVS mode go, in an order in which none holds another; a foreign server stays.

    The kernels of test machines lack IPVS, so its servers are stood in for; device and sets are real.
    """
    keys = [ServerKey.at(Protocol.TCP, *place) for place in (("10.96.0.1", 443), ("192.0.2.1", 30080), ("192.0.2.1", 25))]
    kernel = MemoryIpvs()
    kernel.apply([Operation.add_server(VirtualServer(key)) for key in keys])
    monkeypatch.setattr(ipvs, "Ipvs", lambda: kernel)
    monkeypatch.setattr(ipvs, "_IN_KERNEL", tmp_path)  # something that exists
    with private():
        subprocess.run(["ip", "link", "add", names.DEVICE, "type", "bridge"], check=True)
        subprocess.run(["ip", "address", "add", "10.96.0.1/32", "dev", names.DEVICE], check=True)
        subprocess.run(["ipset", "create", "KUBE-NODE-PORT-TCP", "bitmap:port", "range", "0-65535"], check=True)
        subprocess.run(["ipset", "add", "KUBE-NODE-PORT-TCP", "30080"], check=True)
        _apply(
            "iptables-nft",
            "*nat\n:KUBE-NODE-PORT - [0:0]\n-A KUBE-NODE-PORT -m set --match-set KUBE-NODE-PORT-TCP dst\nCOMMIT\n",
        )

        left = [f"device {names.DEVICE}", "1 ipsets (KUBE-NODE-PORT-TCP)", "IPVS: 2 virtual servers"]
        assert found()[1:] == left
        kernel.apply([Operation.add_real(keys[0], RealServer("10.1.0.2", 8080))])
        kernel.connections(keys[0], "10.1.0.2", 8080, active=2)
        removal = remove(spare=True)
        assert (removal.errors, removal.connections, connections()) == ((), 2, 2)
        assert found() == left  # the rules have gone
        assert [(each.server.weight, each.server.address) for each in kernel.reals(keys[0])] == [
            (0, "10.1.0.2"),
            (1, "127.0.0.1"),
        ]

        kernel.connections(keys[0], "10.1.0.2", 8080, inactive=2)
        assert connections() == 0
        removal = remove(spare=True)
        assert (removal.errors, removal.connections) == ((), 0)
        assert list(kernel.held) == keys[2:]
        assert not ipvs.has_device()
        assert ipvs.sets() == []
