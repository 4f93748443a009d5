# SPDX-License-Identifier: Apache-2.0
"""Wrong flags, configuration and manifests, given to a real process on a node that serves.

One clear sentence each, and whatever worked goes on. The unit tests of ``config`` and ``sources`` hold every kind; here
stands what an operator sees.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed import serving
from tests.faults.daemon import NodeUnderTest
from tests.manifests import endpoint_slice, service

pytestmark = [pytest.mark.packets, pytest.mark.timeout(120)]

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

FLAGS = {  # what was written, and what the sentence must name: the thing and the mend
    "an unknown flag": (["--proxy-mod=nftables"], ["--proxy-mod ", "did you mean --proxy-mode?"]),
    "an unknown mode": (["--proxy-mode=nftable"], ["--proxy-mode: ", "'nftable'", "write nftables, "]),
    "no CIDR": (["--cluster-cidr=10.0.0/8"], ["--cluster-cidr: ", "'10.0.0/8'", "write 10.244.0.0/16"]),
    "no number": (["--conntrack-min=many"], ["--conntrack-min: ", "'many' is not a whole number"]),
    "no address": (["--healthz-bind-address=nowhere"], ["--healthz-bind-address: ", "'nowhere'", "write 10.0.0.1:80"]),
    "an unknown detector": (["--detect-local-mode=Guess"], ["--detect-local-mode: ", "'Guess'", "write ClusterCIDR"]),
    "no such directory": (["--manifests=/nowhere"], ["--manifests /nowhere ", "create it or mend the flag"]),
    "no such file": (["--config=/nowhere"], ["--config /nowhere: ", "name a KubeProxyConfiguration file"]),
}

FILES = {
    "no YAML": (f"{HEAD}mode: [nft\n", ["line 4: not YAML"]),
    "another version": (HEAD.replace("v1alpha1", "v9"), ["kubeproxy.config.k8s.io/v9", "reads apiVersion"]),
    "no duration": (f"{HEAD}nftables: {{syncPeriod: soon}}\n", ["line 3: nftables.syncPeriod: 'soon'", "write a number"]),
    "out of range": (f"{HEAD}nftables: {{masqueradeBit: 40}}\n", ["line 3: nftables.masqueradeBit: 40", "within 0..31"]),
    "two of one family": (f"{HEAD}clusterCIDR: 10.0.0.0/8,11.0.0.0/8\n", ["line 3: clusterCIDR: ", "one of each family"]),
    "another type": (f"{HEAD}conntrack: 5\n", ["line 3: conntrack: Expected `object`"]),
    "an unknown mode": (f"{HEAD}mode: userspace2\n", ["line 3: mode: 'userspace2'", "write nftables, "]),
}

SERVICE_3 = json.dumps(service(3))
MANIFESTS = {
    "no YAML": ("kind: Service\n  metadata: [", "wrong.yaml line 2: "),
    "no object": ("- just\n- words\n", "wrong.yaml line 1: this is no Kubernetes object"),
    "another version": (SERVICE_3.replace('"v1"', '"v7"'), "faults/service-3 has apiVersion v7; make it v1"),
    "another type": (SERVICE_3.replace('"port": 80', '"port": "eighty"'), "service-3"),
    "no name": ('{"kind": "Service", "apiVersion": "v1", "metadata": {}, "spec": {}}', "metadata"),
    "bytes that are no text": ("kind: \x80Service\n", "wrong.yaml line 1: "),
    "a port no packet can have": (SERVICE_3.replace('"port": 80', '"port": 70000'), "service-3"),
    "no address": (json.dumps(endpoint_slice(3, [1])).replace("10.128.0.2", "10.128.0.300"), "service-3"),
}


@pytest.fixture(scope="module", name="node")
def a_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    """Give all tests of the file one node that serves five Services."""
    node = NodeUnderTest(tmp_path_factory.mktemp("node"), 5)
    try:
        node.start()
        node.wait_ready()
        with serving(node.bed):
            yield node
    finally:
        node.close()


def _refused(node: NodeUnderTest, arguments: list[str], words: list[str]) -> None:
    """Start a second daemon that must end at once, with one sentence, having touched nothing."""
    before = node.nft("-s list ruleset")
    done = node.run(sys.executable, "-m", "kproxy", "--healthz-bind-address=", "--metrics-bind-address=", *arguments)

    assert done.returncode == 1
    sentence = done.stderr[done.stderr.index("kproxy: ") :]
    assert len(sentence.splitlines()) <= 2, "one wrong thing, one sentence"
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in sentence
    assert node.nft("-s list ruleset") == before
    assert node.dial()


@pytest.mark.parametrize(("flags", "words"), FLAGS.values(), ids=FLAGS.keys())
def test_wrong_flags(node: NodeUnderTest, flags: list[str], words: list[str]) -> None:
    """The process does not start; the rules of the one before go on serving."""
    _refused(node, flags, words)


@pytest.mark.parametrize(("text", "words"), FILES.values(), ids=FILES.keys())
def test_wrong_configuration(node: NodeUnderTest, tmp_path: Path, text: str, words: list[str]) -> None:
    """The process does not start, and names file, line and field."""
    file = tmp_path / "config.yaml"
    file.write_text(text)
    _refused(node, [f"--config={file}", f"--manifests={node.manifests}"], [f"configuration file {file}", *words])


@pytest.mark.parametrize(("text", "words"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_wrong_manifests(node: NodeUnderTest, text: str, words: str) -> None:
    """One warning names file or object; all Services of other files are served, and go on changing."""
    known = node.complaints(words)
    (node.manifests / ".wrong.yaml").write_bytes(text.encode("latin-1"))
    (node.manifests / ".wrong.yaml").rename(node.manifests / "wrong.yaml")
    try:
        said = node.wait_complaint(words, beyond=len(known))
        node.change([0, 100 + len(node.log.read_text())])

        node.wait_equal(patience=10)
        assert len(node.complaints(words)) == len(known) + 1, said
        assert node.dial()
        assert node.dial(3)
    finally:
        (node.manifests / "wrong.yaml").unlink()
