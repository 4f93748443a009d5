# SPDX-License-Identifier: Apache-2.0
"""The command line reads well, and every mistake is one sentence."""

import json
from pathlib import Path

import pytest

from kproxy import __version__
from kproxy.cli import COMMANDS, main
from kproxy.cli.explain import parse_packet
from kproxy.table.errors import KproxyError
from kproxy.table.interpret import Packet
from kproxy.table.terms import Protocol

MANIFESTS = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    },
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.244.0.1"], "nodeName": "n1"}],
    },
]


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """Write a Service with one endpoint."""
    (tmp_path / "web.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": MANIFESTS}))
    return tmp_path


def test_help_names_every_command_and_the_daemons_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """One page says it all."""
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "--proxy-mode" in text
    assert "--manifests" in text


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"version", "lab"}))
def test_every_command_has_a_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It starts with what the command is for."""
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: kproxy {command}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["version"], f"kproxy {__version__}\n"),
        (["--version"], f"kproxy {__version__}\n"),
        (["--version=v1.37.2"], "kproxy v1.37.2\n"),
    ],
)
def test_the_version_is_told(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By command and by flag, as kube-proxy's flag has it."""
    assert main(arguments) == 0
    assert capsys.readouterr().out == said


def test_all_parts_of_the_version_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """For bug reports."""
    assert main(["--version=raw"]) == 0
    assert f"version: {__version__}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--proxy-moed=nftables"], "did you mean --proxy-mode?"),
        (["--iptables-sync-period=soon"], "--iptables-sync-period"),
        (["--proxy-mode=magic"], "mode"),
        (["--config=/nowhere/at/all"], "/nowhere/at/all"),
        (["surplus"], "belongs to no flag"),
        (["--hostname-override= "], "nothing but blanks"),
        (["explain", "10.0.0.1", "10.96.0.1"], "DST:PORT/PROTO"),
        (["explain", "10.0.0.x", "10.96.0.1:80"], "10.0.0.x"),
        (["explain", "--manifests=/nowhere", "10.0.0.1", "10.96.0.1:80"], "not a directory"),
        (["plan", "--manifest=/nowhere"], "did you mean --manifests?"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a traceback, with the thing and the mend."""
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.err.startswith("kproxy: ")
    assert "Traceback" not in said.err
    assert words in said.err


def test_explain_resolves_manifests_without_a_daemon(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For whoever writes them."""
    arguments = ["explain", f"--manifests={manifests}", "--node=n1", "--cluster-cidr=10.244.0.0/16"]
    assert main([*arguments, "10.244.0.9", "10.96.0.1:80"]) == 0
    text = capsys.readouterr().out
    assert "100.00%  10.244.0.1:8080 (node n1, local), source kept" in text
    assert main([*arguments, "--output=json", "10.244.0.9", "10.96.0.1:81"]) == 0
    assert json.loads(capsys.readouterr().out)["meeting"]["action"] == "reject"


@pytest.mark.parametrize(
    ("destination", "packet"),
    [
        ("10.96.0.1:80", Packet("10.0.0.1", "10.96.0.1", 80)),
        ("010.096.0.1:53/udp", Packet("10.0.0.1", "10.96.0.1", 53, Protocol.UDP)),
        ("[FD00:0::1]:5060/SCTP", Packet("10.0.0.1", "fd00::1", 5060, Protocol.SCTP)),
    ],
)
def test_a_destination_is_read_as_people_write_it(destination: str, packet: Packet) -> None:
    """Brackets for IPv6, TCP where nothing is said, addresses made canonical."""
    assert parse_packet("10.0.0.1", destination) == packet


@pytest.mark.parametrize("destination", ["10.96.0.1", "10.96.0.1:0", "10.96.0.1:70000", "10.96.0.1:80/ICMP", "fd00::1:80"])
def test_a_destination_that_is_none_is_refused(destination: str) -> None:
    """With an example of one."""
    with pytest.raises(KproxyError):
        parse_packet("10.0.0.1", destination)
