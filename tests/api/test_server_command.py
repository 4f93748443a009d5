# SPDX-License-Identifier: Apache-2.0
"""Manifests, and the server as a command."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3

from kproxy.lab.apiserver import ApiServer
from kproxy.table.errors import ObjectError

SHOP = """\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{port: 80}]}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}}
---
# a comment between documents
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSliceList
items:
- metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  ports: [{port: 8080}]
  endpoints: [{addresses: [10.1.0.1]}]
---
{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
"""


def test_manifests_are_loaded(tmp_path: Path) -> None:
    """Several documents, List kinds, JSON, foreign kinds skipped, Namespaces made as needed."""
    path = tmp_path / "shop.yaml"
    path.write_text(SHOP)
    server = ApiServer()

    assert server.load(path) == 3
    assert (server.get("Service", "web", "shop") or {})["spec"]["clusterIP"] == "10.96.1.0"
    assert (server.get("EndpointSlice", "web-1", "shop") or {})["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert server.get("Node", "n1") is not None
    assert server.get("Namespace", "shop") is not None
    assert server.get("Service", "web") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: [", "cannot be read"),
        ("just words", "is not an object with a kind"),
        ("{apiVersion: v1, kind: Service}", "a Service has no metadata.name"),
    ],
)
def test_bad_manifests_are_named(tmp_path: Path, text: str, words: str) -> None:
    """The error names the file and the mend."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)

    with pytest.raises(ObjectError, match=words) as caught:
        ApiServer().load(path)
    assert str(path) in str(caught.value)


def test_the_server_is_a_command(tmp_path: Path) -> None:
    """It prints where it serves what, answers, and ends in peace on SIGTERM."""
    path = tmp_path / "shop.yaml"
    path.write_text(SHOP)
    command = [sys.executable, "-m", "kproxy.lab.apiserver", "--load", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split()[0]
        items = urllib3.request("GET", f"{url}/api/v1/services", timeout=5).json()["items"]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)

    assert line.endswith("serves 3 objects\n")
    assert [item["metadata"]["name"] for item in items] == ["web"]
    assert (process.returncode, errors) == (0, "")


def test_a_missing_manifest_is_one_sentence(tmp_path: Path) -> None:
    """No traceback: the file is named, the exit code is 1."""
    command = [sys.executable, "-m", "kproxy.lab.apiserver", "--load", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("error: manifest ")
    assert done.stderr.count("\n") == 1
