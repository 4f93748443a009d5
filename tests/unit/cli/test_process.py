# SPDX-License-Identifier: Apache-2.0
"""The daemon as a process on a host of its own: manifests in, rules out, and every page and command against it."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kproxy.lab.namespaces import inside
from tests.unit.cli.running import FLAGS, NODE, Node, endpoint_slice, service

pytestmark = [pytest.mark.packets, pytest.mark.timeout(120)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Give a test a node with two Services."""
    with contextlib.closing(Node(tmp_path)) as made:
        made.write(
            service("web", "10.96.0.1"),
            endpoint_slice("web", "10.244.0.1"),
            service("balanced", "10.96.0.2", type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=31000),
            endpoint_slice("balanced", "10.244.0.2"),
        )
        yield made


def test_manifests_become_rules_and_follow_changes(node: Node) -> None:
    """And SIGTERM leaves them in force, with exit code 0."""
    node.start(*FLAGS)
    assert "10.244.0.1 . 8080" in node.nft("list", "table", "ip", "kproxy")
    node.write(service("web", "10.96.0.1"), endpoint_slice("web", "10.244.0.9"))
    node.until(lambda: "10.244.0.9 . 8080" in node.nft("list", "table", "ip", "kproxy"))
    node.until(lambda: "10.244.0.1 . 8080" not in node.nft("list", "table", "ip", "kproxy"))
    assert node.stop() == 0
    assert "10.244.0.9 . 8080" in node.nft("list", "table", "ip", "kproxy")


def test_every_page_answers(node: Node) -> None:
    """With kube-proxy's content where kube-proxy has it."""
    node.start(*FLAGS, "--proxy-mode=nftables")
    for path in ("/healthz", "/livez", "/readyz"):
        status, body = node.page(path, 10256)
        assert status == 200
        assert json.loads(body)["healthy"] is True
    assert node.page("/nothing", 10256)[0] == 404
    assert node.page("/healthz") == (200, "ok")
    assert node.page("/proxyMode") == (200, "nftables")
    config = json.loads(node.page("/configz")[1])["kubeproxy.config.k8s.io"]
    assert (config["kind"], config["mode"], config["clusterCIDR"]) == ("KubeProxyConfiguration", "nftables", "10.244.0.0/16")
    metrics = node.page("/metrics")[1]
    assert 'kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1.0' in metrics
    assert 'kubeproxy_proxy_healthz_total{code="200"} 1.0' in metrics
    assert 'kproxy_service_connections_total{frontend="10.96.0.1:80/TCP"' in metrics
    assert "kproxy_ready 1.0" in metrics
    status, body = node.page("/", 31000, NODE)
    assert status == 200
    assert json.loads(body) == {
        "service": {"namespace": "shop", "name": "balanced"},
        "localEndpoints": 1,
        "serviceProxyHealthy": True,
    }


def test_commands_ask_the_running_daemon(node: Node) -> None:
    """By its socket; without a daemon they say so."""
    node.start(*FLAGS)
    explained = node.run("explain", "10.244.0.7", "10.96.0.1:80")
    assert "100.00%  10.244.0.1:8080 (node n1, local), source kept" in explained.stdout
    explained = node.run("explain", "--output=json", "10.244.0.7", "10.96.0.1:81")
    assert json.loads(explained.stdout)["meeting"]["action"] == "reject"
    status = json.loads(node.run("status", "--output=json").stdout)
    assert [(lane["family"], lane["settled"]) for lane in status["lanes"]] == [("IPv4", True), ("IPv6", True)]
    assert "2 Services" in node.run("status").stdout
    node.stop()
    missing = node.run("status")
    assert missing.returncode == 1
    assert missing.stderr.startswith("kproxy: no kproxy runs in this network namespace")


def test_a_plan_is_what_would_be_sent(node: Node) -> None:
    """All of it over an empty kernel, nothing over one that holds it, and nft takes the text."""
    manifests = f"--manifests={node.manifests}"
    plan = node.run("plan", manifests, *FLAGS, "--proxy-mode=nftables")
    assert plan.returncode == 0, plan.stderr
    assert "10.244.0.1 . 8080" in plan.stdout
    with inside(node.host.namespace):
        subprocess.run(["nft", "-c", "-f", "-"], input=plan.stdout, text=True, check=True)
    node.start(*FLAGS)
    node.stop()
    again = node.run("plan", manifests, *FLAGS, "--proxy-mode=nftables").stdout.splitlines()
    assert again == ["# nftables IPv4: 0 operations", "# nftables IPv6: 0 operations"]
    scratch = node.run("plan", "--from-scratch", "--family=IPv4", manifests, *FLAGS, "--proxy-mode=nftables")
    assert "10.244.0.1 . 8080" in scratch.stdout


def test_cleanup_takes_ours_and_leaves_the_rest(node: Node) -> None:
    """By command and by flag, also when there is nothing to do."""
    node.nft("add", "table", "ip", "firewall")
    node.start(*FLAGS)
    node.stop()
    assert node.run("cleanup").returncode == 0
    assert node.nft("list", "tables") == "table ip firewall\n"
    assert node.run("--cleanup").returncode == 0


def test_a_kill_and_a_restart_write_nothing(node: Node) -> None:
    """The kernel's monitor prints nothing while a second daemon takes over from a killed one."""
    node.start(*FLAGS)
    node.until(lambda: " 0.0" in _sample(node, 'kproxy_drift_repairs_total{ip_family="IPv4"}'))
    time.sleep(1.0)  # for what had to wait to be deleted
    with inside(node.host.namespace):
        monitor = subprocess.Popen(["nft", "monitor"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    node.stop(signal.SIGKILL)
    node.start(*FLAGS)
    time.sleep(1.0)
    monitor.terminate()
    said = monitor.communicate(timeout=5)[0]
    assert said.replace("# Warning: table ip kproxy is managed by iptables-nft, do not touch!\n", "") == ""


def _sample(node: Node, name: str) -> str:
    return next((line for line in node.page("/metrics")[1].splitlines() if line.startswith(name)), "")


def test_a_flush_is_repaired_and_counted(node: Node) -> None:
    """Within two seconds."""
    node.start(*FLAGS)
    node.nft("flush", "ruleset")
    node.until(lambda: "10.244.0.1 . 8080" in node.nft("list", "ruleset"), patience=2.0)
    node.until(lambda: _sample(node, 'kproxy_drift_repairs_total{ip_family="IPv4"}').endswith(" 1.0"))


def test_a_broken_manifest_costs_nobody_else_anything(node: Node) -> None:
    """What it last said stays in force; log, metric and status name it."""
    node.write(service("other", "10.96.0.7"), endpoint_slice("other", "10.244.0.7"), name="other.json")
    node.start(*FLAGS)
    (node.manifests / "other.json").write_text("{ this is no manifest")
    node.until(lambda: 'kproxy_broken_objects{kind="file"} 1.0' in node.page("/metrics")[1])
    node.write(service("web", "10.96.0.1"), endpoint_slice("web", "10.244.0.9"))
    node.until(lambda: "10.244.0.9 . 8080" in node.nft("list", "table", "ip", "kproxy"))
    assert "10.244.0.7 . 8080" in node.nft("list", "table", "ip", "kproxy")
    assert "other.json" in node.run("status").stdout


def _config(path: Path, **fields: Any) -> Path:
    path.write_text(
        json.dumps(
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "nftables",
                "hostnameOverride": "n1",
                "clusterCIDR": "10.244.0.0/16",
                "nodePortAddresses": [f"{NODE}/32"],
                "oomScoreAdj": 0,
                "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
                **fields,
            }
        )
    )
    return path


def test_a_changed_configuration_is_applied_live(node: Node, tmp_path: Path) -> None:
    """Health ports move with nodePortAddresses; nothing restarts."""
    path = _config(tmp_path / "config")
    node.start(f"--config={path}")
    assert node.page("/", 31000, NODE)[0] == 200
    _config(path, nodePortAddresses=["127.0.0.0/8"], clusterCIDR="10.245.0.0/16")
    node.until(lambda: node.page("/", 31000, "127.0.0.1")[0] == 200)
    assert node.page("/", 31000, NODE)[0] == 0
    assert json.loads(node.page("/configz")[1])["kubeproxy.config.k8s.io"]["clusterCIDR"] == "10.245.0.0/16"
    node.until(lambda: "outside" in node.run("explain", "10.244.0.7", "10.96.0.1:80").stdout)


def test_what_cannot_change_live_ends_the_process_with_upstreams_words(node: Node, tmp_path: Path) -> None:
    """Exit code 1; the rules stay."""
    path = _config(tmp_path / "config")
    node.start(f"--config={path}")
    _config(path, conntrack={"min": 1})
    assert node.process is not None
    assert node.process.wait(30) == 1
    assert "content of the proxy server's configuration file was updated" in node.log.read_text()
    assert "10.244.0.1 . 8080" in node.nft("list", "table", "ip", "kproxy")


def test_a_taken_address_is_fatal_only_where_asked_for(node: Node) -> None:
    """Otherwise it is tried again, and Services are served meanwhile."""
    with inside(node.host.namespace):
        holder = subprocess.Popen([sys.executable, "-m", "http.server", "10249", "--bind", "127.0.0.1"])
    try:
        node.until(lambda: node.page("/")[0] == 200)
        node.start(*FLAGS)
        node.stop()
        done = node.run(f"--manifests={node.manifests}", *FLAGS, "--bind-address-hard-fail")
        assert done.returncode == 1
        assert "metricsBindAddress" in done.stderr
    finally:
        holder.kill()
        holder.wait()


def test_it_runs_with_net_admin_alone_and_not_as_root(node: Node) -> None:
    """A sysctl that it may not write is explained, and Services are served nevertheless."""
    readable = all(parent.stat().st_mode & 0o005 == 0o005 for parent in Path(sys.executable).resolve().parents)
    abilities = "+net_admin" if readable else "+net_admin,+dac_read_search"  # an interpreter in root's home
    wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    wrapper += [f"--inh-caps={abilities}", f"--ambient-caps={abilities}", f"--bounding-set=-all,{abilities}"]
    limits = ["--conntrack-max-per-core=1", "--conntrack-min=2000000000"]  # nobody may write the limit in a namespace
    with tempfile.TemporaryDirectory() as directory:  # one that nobody else's rights stand in front of
        node.manifests = Path(shutil.copytree(node.manifests, Path(directory, "manifests")))
        node.manifests.parent.chmod(0o755)
        node.start(*FLAGS, *limits, wrapper=wrapper)
    assert "10.244.0.1 . 8080" in node.nft("list", "table", "ip", "kproxy")
    assert "nf_conntrack_max=2000000000 may not be written by this process: run kproxy --init-only" in node.log.read_text()
    assert node.run("status").returncode == 0


def test_init_only_sets_sysctls_and_ends(node: Node) -> None:
    """With exit code 1 where one is refused; no rule is written."""
    done = node.run(f"--manifests={node.manifests}", "--init-only", *FLAGS, "--conntrack-udp-timeout=77s")
    assert done.returncode == 0, done.stderr
    with inside(node.host.namespace):
        setting = subprocess.run(
            ["cat", "/proc/sys/net/netfilter/nf_conntrack_udp_timeout"], capture_output=True, text=True, check=True
        )
    assert setting.stdout == "77\n"
    refused = ["--conntrack-max-per-core=1", "--conntrack-min=2000000000"]
    done = node.run(f"--manifests={node.manifests}", "--init-only", *FLAGS, *refused)
    assert done.returncode == 1
    assert "nf_conntrack_max" in done.stderr
    assert node.nft("list", "tables") == ""


def test_bytes_are_counted_where_asked_for(node: Node) -> None:
    """By endpoint; without being asked there is no such series, rather than zeros."""
    node.start(*FLAGS, "--count-bytes")
    assert 'kproxy_endpoint_bytes_total{endpoint="10.244.0.1:8080"' in node.page("/metrics")[1]
    node.stop()
    node.start(*FLAGS)
    assert "kproxy_endpoint_bytes_total{" not in node.page("/metrics")[1]
    assert node.run("status").returncode == 0


def test_a_default_mode_says_what_it_changes(node: Node) -> None:
    """In the start-up lines."""
    node.start(*FLAGS)
    assert "NodePorts answer on the addresses that nodePortAddresses names" in node.log.read_text()
    node.stop()
    node.start(*(flag for flag in FLAGS if not flag.startswith("--nodeport-addresses")))
    assert "NodePorts answer on the node's primary addresses only" in node.log.read_text()


def test_kube_proxys_rules_are_taken_over(node: Node) -> None:
    """Ours go in, then its table goes."""
    node.nft("add", "table", "ip", "kube-proxy")
    node.nft("add", "chain", "ip", "kube-proxy", "services")
    node.start(*FLAGS)
    node.until(lambda: "table ip kube-proxy" not in node.nft("list", "tables"))
    assert "10.244.0.1 . 8080" in node.nft("list", "table", "ip", "kproxy")
