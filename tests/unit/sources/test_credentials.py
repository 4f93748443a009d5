# SPDX-License-Identifier: Apache-2.0
"""Ways to show who we are, and how they are renewed."""

# ruff: noqa: S106 - these tokens open nothing

import base64
import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kproxy.sources.kubernetes.access import (
    Access,
    AuthProvider,
    Cluster,
    EnvironmentVariable,
    ExecConfig,
    NamedExtension,
    User,
)
from kproxy.sources.kubernetes.credentials import TOKEN_FILE_PERIOD, Fixed, TokenFile, credentials_of
from kproxy.sources.kubernetes.exec_plugin import ExecPlugin
from kproxy.table.clock import FakeClock
from kproxy.table.errors import ConfigError, SourceError, Unauthorized

V1 = "client.authentication.k8s.io/v1"


def access(user: User, **cluster: Any) -> Access:
    """Return an access with this user."""
    return Access(Cluster(server="https://api:6443", **cluster), user, "kubeconfig test")


@pytest.mark.parametrize(
    ("user", "header"),
    [
        (User(), ""),
        (User(token="secret"), "Bearer secret"),
        (User(username="me", password="pä:ss"), "Basic bWU6cMOkOnNz"),
        (User(token="secret", username="me"), "Bearer secret"),
    ],
)
async def test_what_never_changes_is_a_header(user: User, header: str) -> None:
    """A token counts before a password."""
    credentials = credentials_of(access(user), clock=FakeClock())
    assert isinstance(credentials, Fixed)
    credentials.refused()
    assert await credentials.authorization() == header
    assert credentials.certificate() is None


async def test_a_token_file_is_read_every_minute_and_when_refused(tmp_path: Path) -> None:
    """In between it is left alone; while it is bad, the last good token stays in use."""
    path, clock = tmp_path / "token", FakeClock()
    path.write_text("one\n")
    credentials = credentials_of(access(User(token_file=str(path), token="inline")), clock=clock)
    assert await credentials.authorization() == "Bearer one"
    path.write_text("two")
    assert await credentials.authorization() == "Bearer one"
    credentials.refused()
    assert await credentials.authorization() == "Bearer two"
    path.write_text("three")
    clock.advance(TOKEN_FILE_PERIOD)
    assert await credentials.authorization() == "Bearer three"
    path.unlink()
    credentials.refused()
    assert await credentials.authorization() == "Bearer three"


async def test_a_token_file_that_never_was_good_is_named(tmp_path: Path) -> None:
    """Missing, or empty."""
    credentials = TokenFile(tmp_path / "token", clock=FakeClock())
    with pytest.raises(Unauthorized, match=r"token cannot be read .*mend the file"):
        await credentials.authorization()
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(Unauthorized, match="is empty"):
        await credentials.authorization()


def test_half_a_certificate_is_refused() -> None:
    """At the start, not at the first handshake."""
    with pytest.raises(ConfigError, match="needs its key"):
        credentials_of(access(User(client_certificate="a.crt")), clock=FakeClock())


async def test_an_auth_provider_goes_to_the_official_library(tmp_path: Path) -> None:
    """An OIDC id-token that has not expired becomes the header; a provider without a token is named."""
    body = base64.urlsafe_b64encode(b'{"exp":4000000000}').decode().rstrip("=")
    token = f"aGVhZA.{body}.c2ln"
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://api"}}],
        "users": [{"name": "u", "user": {"auth-provider": {"name": "oidc", "config": {"id-token": token}}}}],
    }
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    way = Access(Cluster(), User(auth_provider=AuthProvider("oidc")), f"kubeconfig {path}", (str(path),))
    credentials = credentials_of(way, clock=FakeClock())
    assert await credentials.authorization() == f"Bearer {token}"
    config["users"] = [{"name": "u", "user": {"auth-provider": {"name": "azure", "config": {}}}}]
    path.write_text(json.dumps(config))
    credentials.refused()
    with pytest.raises(Unauthorized, match="use an exec plugin"):
        await credentials.authorization()


class Plugin:
    """A plugin on disk that prints what it is told to, and counts its runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "plugin"
        self.clock = FakeClock(1_700_000_000.0)
        script = f"""#!{sys.executable}
import json, os, pathlib, sys
folder = pathlib.Path({str(folder)!r})
(folder / "runs").open("a").write("x")
seen = {{"environment": dict(os.environ), "arguments": sys.argv[1:], "stdin": sys.stdin.read()}}
(folder / "seen").write_text(json.dumps(seen))
print((folder / "output").read_text())
sys.stderr.write((folder / "complaint").read_text())
sys.exit(int((folder / "code").read_text()))
"""
        self.path.write_text(script)
        self.path.chmod(0o755)
        self.says(token="one")

    def says(self, *, code: int = 0, complaint: str = "", version: str = V1, **status: str) -> None:
        """Decide what it prints next."""
        credential = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        (self.folder / "output").write_text(json.dumps(credential))
        (self.folder / "code").write_text(str(code))
        (self.folder / "complaint").write_text(complaint)

    @property
    def runs(self) -> int:
        """Return how often it ran."""
        return len((self.folder / "runs").read_text())

    @property
    def seen(self) -> Any:
        """Return what it saw in its last run."""
        return json.loads((self.folder / "seen").read_text())

    def credentials(self, *, cluster: dict[str, Any] | None = None, **config: Any) -> ExecPlugin:
        """Return credentials that run it."""
        config = {"api_version": V1, "command": str(self.path), **config}
        user = User(exec=ExecConfig(**config))
        credentials = credentials_of(access(user, **(cluster or {})), clock=self.clock)
        assert isinstance(credentials, ExecPlugin)
        return credentials


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """Return a plugin."""
    return Plugin(tmp_path)


async def test_a_plugin_runs_once_until_its_token_expires_or_is_refused(plugin: Plugin) -> None:
    """ExpirationTimestamp is in wall-clock time."""
    expiry = dt.datetime.fromtimestamp(plugin.clock.wall() + 60, tz=dt.UTC).isoformat().replace("+00:00", "Z")
    plugin.says(token="one", expirationTimestamp=expiry)
    credentials = plugin.credentials()
    assert [await credentials.authorization() for _ in range(3)] == ["Bearer one"] * 3
    assert plugin.runs == 1
    plugin.says(token="two")
    plugin.clock.advance(60)
    assert await credentials.authorization() == "Bearer two"
    plugin.says(token="three")
    credentials.refused()
    assert await credentials.authorization() == "Bearer three"
    assert plugin.runs == 3


async def test_a_plugin_sees_its_arguments_environment_and_the_cluster(plugin: Plugin) -> None:
    """There is no terminal, and the cluster is told only to those who ask."""
    cluster = {
        "certificate_authority_data": b"PEM",
        "tls_server_name": "kubernetes",
        "extensions": (NamedExtension("client.authentication.k8s.io/exec", {"audience": "a"}), NamedExtension("x", 1)),
    }
    credentials = plugin.credentials(
        cluster=cluster, args=("get", "token"), env=(EnvironmentVariable("REGION", "north"),), provide_cluster_info=True
    )
    await credentials.authorization()
    seen = plugin.seen
    assert seen["arguments"] == ["get", "token"]
    assert seen["stdin"] == ""
    assert seen["environment"]["REGION"] == "north"
    assert seen["environment"]["PATH"] == os.environ["PATH"]
    assert json.loads(seen["environment"]["KUBERNETES_EXEC_INFO"]) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://api:6443",
                "certificate-authority-data": "UEVN",
                "tls-server-name": "kubernetes",
                "config": {"audience": "a"},
            },
        },
    }
    await plugin.credentials().authorization()
    assert "cluster" not in json.loads(plugin.seen["environment"]["KUBERNETES_EXEC_INFO"])["spec"]


async def test_a_plugin_may_make_a_certificate(plugin: Plugin) -> None:
    """Then there is no header."""
    plugin.says(clientCertificateData="CERT", clientKeyData="KEY")
    credentials = plugin.credentials()
    assert await credentials.authorization() == ""
    certificate = credentials.certificate()
    assert certificate
    assert (certificate.data, certificate.key_data) == (b"CERT", b"KEY")


async def test_the_older_version_is_spoken_too(plugin: Plugin) -> None:
    """v1beta1 in, v1beta1 out."""
    beta = "client.authentication.k8s.io/v1beta1"
    plugin.says(token="one", version=beta)
    assert await plugin.credentials(api_version=beta).authorization() == "Bearer one"


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (
            {"code": 3, "complaint": "warming up\nlogin expired\n", "token": "x"},
            "failed with code 3: login expired; brew install it",
        ),
        ({}, "neither a token nor a certificate"),
        ({"clientCertificateData": "CERT"}, "a certificate without key"),
        ({"token": "x", "version": "client.authentication.k8s.io/v1beta1"}, "mend apiVersion"),
        ({"token": "x", "expirationTimestamp": "soon"}, "printed no ExecCredential"),
    ],
)
async def test_a_plugin_that_fails_is_one_clear_sentence(plugin: Plugin, says: dict[str, Any], words: str) -> None:
    """The plugin's last words are passed on, with the hint of whoever wrote the kubeconfig."""
    plugin.says(**says)
    with pytest.raises(Unauthorized) as caught:
        await plugin.credentials(install_hint="brew install\n it").authorization()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_plugin_that_is_not_there_comes_with_its_hint(plugin: Plugin) -> None:
    """A program that is not installed, or whose cluster's authority is missing."""
    with pytest.raises(Unauthorized, match=r"kubelogin-x is not an executable on PATH: install it; see the wiki"):
        await plugin.credentials(command="kubelogin-x", install_hint="see the wiki").authorization()
    missing = plugin.credentials(cluster={"certificate_authority": "/none/ca.crt"}, provide_cluster_info=True)
    with pytest.raises(SourceError, match=r"/none/ca\.crt cannot be read"):
        await missing.authorization()


def test_plugins_that_cannot_work_are_refused_at_start(plugin: Plugin) -> None:
    """A version that is no more, and one that wants a terminal."""
    with pytest.raises(ConfigError, match="v1alpha1 is not known"):
        plugin.credentials(api_version="client.authentication.k8s.io/v1alpha1")
    with pytest.raises(ConfigError, match="wants a terminal"):
        plugin.credentials(interactive_mode="Always")
