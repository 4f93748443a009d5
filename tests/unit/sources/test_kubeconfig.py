# SPDX-License-Identifier: Apache-2.0
"""Which API server is talked to, and as whom."""

from pathlib import Path

import pytest

from kproxy.sources.kubernetes import reach as reaching
from kproxy.sources.kubernetes.reach import reach
from kproxy.table.errors import ConfigError

FULL = """
apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: here, context: {cluster: lab, user: admin, namespace: ignored}}
- {name: there, context: {cluster: other, user: admin}}
clusters:
- name: lab
  cluster: {server: "https://10.0.0.1:6443/", certificate-authority: pki/ca.crt, tls-server-name: lab, proxy-url: null}
- name: other
  cluster: {server: "https://10.0.0.2:6443", certificate-authority-data: UEVN, insecure-skip-tls-verify: false}
users:
- name: admin
  user: {client-certificate: /abs/admin.crt, client-key: admin.key, exec: null}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a kubeconfig file."""
    path = tmp_path / "config"
    path.write_text(FULL)
    return path


def test_the_current_context_counts_and_paths_are_relative_to_the_file(config: Path) -> None:
    """Cluster and user are looked up by name; the trailing slash of the server goes."""
    access = reach(str(config), "", {})
    assert access.cluster.server == "https://10.0.0.1:6443"
    assert access.cluster.certificate_authority == str(config.parent / "pki/ca.crt")
    assert access.cluster.tls_server_name == "lab"
    assert access.user.client_certificate == "/abs/admin.crt"
    assert access.user.client_key == str(config.parent / "admin.key")


def test_inline_data_is_decoded(config: Path) -> None:
    """The ``-data`` fields are base64."""
    config.write_text(FULL.replace("current-context: here", "current-context: there"))
    assert reach(str(config), "", {}).cluster.certificate_authority_data == b"PEM"


def test_the_master_flag_overrides_the_server_only(config: Path) -> None:
    """Credentials still come from the kubeconfig."""
    access = reach(str(config), "10.9.9.9:443", {})
    assert access.cluster.server == "https://10.9.9.9:443"
    assert access.user.client_key
    assert reach("", "10.9.9.9:8080", {}).cluster.server == "http://10.9.9.9:8080"


def test_a_pod_has_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without flags the environment and the mounted files of a Pod count, IPv6 included."""
    monkeypatch.setattr(reaching.in_cluster, "__defaults__", (tmp_path,))
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(ConfigError, match="token is missing"):
        reach("", "", environment)
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("c")
    access = reach("", "", environment)
    assert access.cluster.server == "https://[fd00::1]:443"
    assert access.user.token_file == str(tmp_path / "token")
    assert access.cluster.certificate_authority == str(tmp_path / "ca.crt")


def test_kubeconfig_files_of_the_environment_are_merged(config: Path, tmp_path: Path) -> None:
    """The first file to name a thing wins; files that do not exist are passed over."""
    first = tmp_path / "first"
    first.write_text("users:\n- {name: admin, user: {token: secret}}\n")
    access = reach("", "", {"KUBECONFIG": f"{tmp_path}/none:{first}:{config}"})
    assert access.user.token == "secret"
    assert access.cluster.server == "https://10.0.0.1:6443"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("current-context: here", "current-context: nowhere"), "no context named 'nowhere' (it has: here, there)"),
        (("current-context: here", ""), "no current-context"),
        (("cluster: lab,", "cluster: moon,"), "no cluster named 'moon' (it has: lab, other)"),
        (("user: admin, namespace", "user: nobody, namespace"), "no user named 'nobody'"),
        (("https://10.0.0.1:6443/", "ftp://10.0.0.1"), "neither http:// nor https://"),
        (("https://10.0.0.1:6443/", ""), "names no server"),
        (("- name: lab", "- name: [lab]"), "Expected `str`, got `array` - at `$.clusters[0].name`"),
        (("kind: Config", "kind: [Config"), "is not YAML"),
        (("certificate-authority: pki", "certificate-authority-data: '%%%', certificate-authority: pki"), "base64"),
    ],
)
def test_a_bad_file_is_one_clear_sentence(config: Path, change: tuple[str, str], words: str) -> None:
    """The message names the file and the mend."""
    assert change[0] in FULL
    config.write_text(FULL.replace(*change))
    with pytest.raises(ConfigError) as caught:
        reach(str(config), "", {})
    assert words in str(caught.value)
    assert str(config) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_to_go_by_names_all_the_ways(tmp_path: Path) -> None:
    """No flag, no Pod, no environment; or a flag that names nothing."""
    with pytest.raises(ConfigError, match="--manifests DIR"):
        reach("", "", {})
    with pytest.raises(ConfigError, match="does not exist"):
        reach(str(tmp_path / "none"), "", {})
