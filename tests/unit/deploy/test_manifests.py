# SPDX-License-Identifier: Apache-2.0
"""The DaemonSet's file and the systemd unit: flags, permissions, configuration, probes and privileges fit the code."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from kproxy.config.addresses import split_port
from kproxy.config.loading import complete, load
from kproxy.observe import events
from kproxy.sources.kubernetes.kubeconfig import load as load_kubeconfig
from kproxy.sources.watches import watches_of
from tests.unit.deploy.files import DEPLOY, UNIT, manifest, pod

CONTAINERS: Final[list[dict[str, Any]]] = [*pod()["initContainers"], *pod()["containers"]]
MAIN: Final[dict[str, Any]] = pod()["containers"][0]
CONFIG: Final[dict[str, str]] = manifest("ConfigMap")["data"]


@pytest.fixture(name="mounted")
def _mounted(tmp_path: Path) -> Path:
    """Return a directory with the ConfigMap's files."""
    for name, text in CONFIG.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def _arguments(container: dict[str, Any], mounted: Path) -> list[str]:
    where = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "config")
    return [argument.replace(where, str(mounted)).replace("$(NODE_NAME)", "node-1") for argument in container["args"]]


def _group_and_resource(path: str) -> tuple[str, str]:
    parts = path.strip("/").split("/")
    return ("" if parts[0] == "api" else parts[1], parts[-1])


def test_the_role_allows_what_kproxy_does_and_no_more() -> None:
    """List and watch for every kind watched; create and patch for Events."""
    allowed = {
        ((group, resource), verb)
        for rule in manifest("ClusterRole")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    needed = {(_group_and_resource(watch.path), verb) for watch in watches_of("node-1") for verb in ("list", "watch")}
    told = _group_and_resource(events.path_of(events.node_reference("node-1")))
    needed |= {(told, "create"), (told, "patch")}  # post and patch of ``events.Poster``

    assert allowed == needed


def test_the_role_is_bound_to_the_pods_account() -> None:
    """Names and namespaces agree."""
    binding, account = manifest("ClusterRoleBinding"), manifest("ServiceAccount")["metadata"]

    assert binding["roleRef"]["name"] == manifest("ClusterRole")["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}]
    assert pod()["serviceAccountName"] == account["name"]
    assert {manifest(kind)["metadata"]["namespace"] for kind in ("ConfigMap", "DaemonSet")} == {account["namespace"]}


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: str(container["name"]))
def test_every_container_starts_without_a_warning(container: dict[str, Any], mounted: Path) -> None:
    """Its flags exist, the file it names is mounted, and every field of that is known and in force."""
    start = load([*_arguments(container, mounted), "--strict-config"])

    assert start.warnings == ()
    assert start.init_only == (container in pod()["initContainers"])
    assert complete(start, nftables_works=True).config.mode == "nftables"


def test_the_node_is_called_by_its_name(mounted: Path) -> None:
    """The downward API's name overrides the host's."""
    assert MAIN["env"] == [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]
    assert load(_arguments(MAIN, mounted)).config.hostname_override == "node-1"


def test_the_kubeconfig_is_found_and_leads_past_the_cluster_ip(mounted: Path) -> None:
    """It is the file the configuration names, uses the Pod's account, and a server by its own name."""
    named = load(_arguments(MAIN, mounted)).config.client_connection.kubeconfig
    access = load_kubeconfig((mounted / Path(named).name,))

    assert Path(named).name in CONFIG
    assert access.cluster.server.startswith("https://")
    assert access.user.token_file == "/var/run/secrets/kubernetes.io/serviceaccount/token"


def test_probes_ask_pages_that_exist_where_they_are_served(mounted: Path) -> None:
    """Liveness does not depend on the Node being drained; ports are the configuration's."""
    config = load(_arguments(MAIN, mounted)).config
    ports = {port["name"]: port["containerPort"] for port in MAIN["ports"]}

    assert ports == {
        "health": int(split_port(config.healthz_bind_address)[1]),
        "metrics": int(split_port(config.metrics_bind_address)[1]),
    }
    assert MAIN["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "health"}
    assert MAIN["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}


def test_the_daemon_has_one_capability_and_is_not_root() -> None:
    """Only what ends at once has privileges; a capability from a file must be allowed to come."""
    context = MAIN["securityContext"]
    privileged = [one["name"] for one in CONTAINERS if one["securityContext"].get("privileged")]

    assert context["runAsNonRoot"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert "allowPrivilegeEscalation" not in context
    assert privileged == [pod()["initContainers"][0]["name"]]
    assert "setcap cap_net_admin+ep" in (DEPLOY / "Containerfile").read_text()


def test_every_volume_is_mounted_and_every_mount_has_its_volume() -> None:
    """Nothing of the host is visible without need."""
    mounted = {mount["name"] for container in CONTAINERS for mount in container["volumeMounts"]}

    assert mounted == {volume["name"] for volume in pod()["volumes"]}


def test_it_runs_on_every_node_and_is_not_the_first_to_go() -> None:
    """As a part of the node: its network, no taint keeps it away, no pressure evicts it before others."""
    spec = pod()

    assert spec["hostNetwork"]
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"
    assert manifest("DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"]


def _unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser


def test_the_unit_starts_kproxy_with_flags_that_exist(mounted: Path) -> None:
    """Sysctls as root first, then the daemon as a user with one capability, watched and waited for."""
    service = _unit()["Service"]
    before, command = (shlex.split(service[name].removeprefix("+")) for name in ("ExecStartPre", "ExecStart"))
    starts = [load([word.replace("/etc/kproxy", str(mounted)) for word in line[1:]]) for line in (before, command)]

    assert [start.init_only for start in starts] == [True, False]
    assert service["ExecStartPre"].startswith("+")
    assert before[0] == command[0]
    assert service["Type"] == "notify"
    assert service["WatchdogSec"]
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == "CAP_NET_ADMIN"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on PATH")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Its own check finds nothing; a program that exists stands in for kproxy."""
    file = tmp_path / UNIT.name
    file.write_text(re.sub(r"/opt/kproxy/bin/kproxy", "/bin/true", UNIT.read_text()))

    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr, done.stderr


def test_the_files_are_plain() -> None:
    """No anchors or tags, which not every tool that reads manifests follows."""
    for file in DEPLOY.rglob("*.yaml"):
        tokens = yaml.scan(file.read_text(encoding="utf-8"))
        assert not [token for token in tokens if isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken)]
