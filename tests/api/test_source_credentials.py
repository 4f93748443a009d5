# SPDX-License-Identifier: Apache-2.0
"""The way in, against a server that asks for it: TLS, certificates, tokens, plugins, and their renewal."""

import asyncio
import base64
import json
import os
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kproxy.lab.apiserver import ApiServer
from kproxy.lab.apiserver.authentication import tls_context
from kproxy.objects.events import Kind
from kproxy.sources.kubernetes.transport import Transport, connect
from kproxy.table.clock import FakeClock
from kproxy.table.errors import SourceError, Unauthorized
from tests.api.following import following
from tests.api.wire import SERVICES, service


def openssl(folder: Path, *arguments: str) -> None:
    """Run openssl where the files are."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two authorities, a server's certificate for the name lab.test, and client certificates."""
    folder = tmp_path_factory.mktemp("pki")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other-ca"):
        openssl(folder, "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
    for authority, name, names in (
        ("ca", "server", "DNS:lab.test"),
        ("ca", "client", "DNS:client"),
        ("other-ca", "stranger", "DNS:stranger"),
    ):
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "extensions").write_text(f"subjectAltName={names}\n")
        sign = ("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-CAcreateserial", "-extfile", "extensions")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *sign)
    return folder


@pytest.fixture
async def tls_server(pki: Path) -> AsyncIterator[ApiServer]:
    """Return a server that wants a client certificate of its authority."""
    tls = tls_context(pki / "server.crt", pki / "server.key", pki / "ca.crt")
    async with ApiServer(tls=tls, patience=0.1, bookmark_period=0.2) as running:
        yield running
    await asyncio.sleep(0.05)  # let the client's TLS connections close


def kubeconfig(folder: Path, server: ApiServer, user: dict[str, Any], cluster: dict[str, str] | None = None) -> str:
    """Write a kubeconfig and return its path."""
    value = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server.url, "tls-server-name": "lab.test", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(value))
    return str(path)


async def succeeds(transport: Transport) -> bool:
    """Tell whether a request is let in."""
    try:
        await transport.read(SERVICES)
    except Unauthorized:
        return False
    return True


def encoded(path: Path) -> str:
    """Return a file in base64."""
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize("inline", [False, True])
async def test_a_client_certificate_lets_in(tls_server: ApiServer, pki: Path, tmp_path: Path, inline: bool) -> None:
    """As files and as inline data; the server is known by tls-server-name."""
    if inline:
        user = {"client-certificate-data": encoded(pki / "client.crt"), "client-key-data": encoded(pki / "client.key")}
        cluster = {"certificate-authority-data": encoded(pki / "ca.crt")}
    else:
        user = {"client-certificate": str(pki / "client.crt"), "client-key": str(pki / "client.key")}
        cluster = {"certificate-authority": str(pki / "ca.crt")}
    transport = connect(kubeconfig(tmp_path, tls_server, user, cluster), environment={})
    async with following(tls_server, transport=transport) as told:
        await told.until_synced()
        tls_server.put(service("web"))
        await told.until_keys(Kind.SERVICE, "default/web")


async def test_a_renewed_client_certificate_is_taken_up(tls_server: ApiServer, pki: Path, tmp_path: Path) -> None:
    """Under the same path, without a restart."""
    for end in ("crt", "key"):
        shutil.copy(pki / f"stranger.{end}", tmp_path / f"client.{end}")
    user = {"client-certificate": "client.crt", "client-key": "client.key"}
    path = kubeconfig(tmp_path, tls_server, user, {"certificate-authority": str(pki / "ca.crt")})
    transport = connect(path, environment={})
    with pytest.raises(SourceError):
        await transport.read(SERVICES)
    for end in ("crt", "key"):
        shutil.copy(pki / f"client.{end}", tmp_path / f"client.{end}")
    assert await succeeds(transport)
    await transport.close()


@pytest.mark.parametrize(
    ("user", "cluster", "words"),
    [
        ({}, {"certificate-authority": "other-ca.crt"}, "does not trust"),
        ({}, {"certificate-authority": "ca.crt", "tls-server-name": "elsewhere.test"}, "does not trust"),
        ({}, {"certificate-authority": "none.crt"}, "none.crt cannot be used"),
        ({}, {"certificate-authority": "client.key"}, "client.key cannot be used"),
        ({}, {"certificate-authority-data": "bm8gUEVN"}, "certificate-authority-data cannot be used"),
        ({"client-certificate": "client.crt", "client-key": "server.key"}, {}, "client.crt cannot be used"),
        ({"client-certificate": "none.crt", "client-key": "client.key"}, {}, "none.crt cannot be used"),
        ({"tokenFile": "none"}, {"certificate-authority": "ca.crt"}, "none cannot be read"),
        ({}, {"server": "https://127.0.0.1:1"}, "is the API server up?"),
        ({}, {"server": "https://no-such-host.invalid"}, "is an unknown name"),
    ],
)
async def test_a_bad_way_in_is_one_clear_sentence(
    tls_server: ApiServer, pki: Path, user: dict[str, str], cluster: dict[str, str], words: str
) -> None:
    """The sentence names the file or the address."""
    transport = connect(kubeconfig(pki, tls_server, user, cluster), environment={})
    with pytest.raises(SourceError) as caught:
        await transport.read(SERVICES)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    await transport.close()


async def test_a_server_that_does_not_speak_tls_is_named(server: ApiServer) -> None:
    """Https towards an http server."""
    transport = connect(master=server.url.replace("http:", "https:"), environment={})
    with pytest.raises(SourceError, match="does not speak TLS as it should"):
        await transport.read(SERVICES)
    await transport.close()


async def test_a_revoked_token_is_read_anew_before_anybody_notices(tmp_path: Path) -> None:
    """A 401 leads to one more try with what the file holds now; the caller sees only the success."""
    (tmp_path / "token").write_text("old")
    async with ApiServer(tokens=frozenset({"old"})) as server:
        transport = connect(kubeconfig(tmp_path, server, {"tokenFile": "token"}), clock=FakeClock(), environment={})
        assert await succeeds(transport)
        server.authentication.tokens = frozenset({"new"})
        (tmp_path / "token").write_text("new")
        assert await succeeds(transport)
        server.authentication.tokens = frozenset({"newer"})
        server.requests.clear()
        assert not await succeeds(transport)
        assert len(server.requests) == 2, "one refusal, one more try"
        await transport.close()


async def test_a_watch_outlives_the_change_of_its_token(tmp_path: Path) -> None:
    """The source goes on with the new token after the connection is cut."""
    (tmp_path / "token").write_text("old")
    async with ApiServer(tokens=frozenset({"old"}), bookmark_period=0.2) as server:
        transport = connect(kubeconfig(tmp_path, server, {"tokenFile": "token"}), environment={})
        async with following(server, transport=transport) as told:
            await told.until_synced()
            server.authentication.tokens = frozenset({"new"})
            server.cut_watches()
            server.put(service("web"))
            await asyncio.sleep(0.2)
            assert told.keys(Kind.SERVICE) == []
            (tmp_path / "token").write_text("new")
            await told.until_keys(Kind.SERVICE, "default/web")


async def test_a_plugin_is_run_again_when_its_token_is_refused(tmp_path: Path) -> None:
    """Exec plugins are asked anew on 401."""
    plugin = tmp_path / "plugin"
    plugin.write_text(
        "#!/bin/sh\n"
        f'echo \'{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",\'\n'
        f'echo \'"status":{{"token":"\'$(cat {tmp_path}/secret)\'"}}}}\'\n'
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "secret").write_text("old")
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "interactiveMode": "Never"}}
    async with ApiServer(tokens=frozenset({"old"})) as server:
        transport = connect(kubeconfig(tmp_path, server, user), environment=dict(os.environ))
        assert await succeeds(transport)
        server.authentication.tokens = frozenset({"new"})
        (tmp_path / "secret").write_text("new")
        assert await succeeds(transport)
        await transport.close()


async def test_events_are_created_and_patched(server: ApiServer) -> None:
    """The same connection writes; a conflict is an error with its status."""
    transport = connect("", server.url, environment={})
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "here.1", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "kube-proxy",
        "reportingInstance": "here",
        "action": "StartKubeProxy",
        "reason": "Starting",
        "type": "Normal",
        "regarding": {"kind": "Node", "name": "here"},
    }
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    created = json.loads(await transport.post(path, json.dumps(event).encode()))
    assert created["metadata"]["uid"]
    patched = json.loads(
        await transport.patch(f"{path}/here.1", b'{"series":{"count":2,"lastObservedTime":"2026-01-01T00:00:01.000000Z"}}')
    )
    assert patched["series"]["count"] == 2
    with pytest.raises(SourceError) as caught:
        await transport.post(path, json.dumps(event).encode())
    assert caught.value.status == 409
    await transport.close()


async def test_impersonation_is_passed_on(server: ApiServer, tmp_path: Path) -> None:
    """As headers, one a group."""
    transport = connect(kubeconfig(tmp_path, server, {"as": "someone", "as-groups": ["a", "b"]}), environment={})
    assert await succeeds(transport)
    headers = server.requests[-1].headers
    assert headers["impersonate-user"] == "someone"
    assert headers["impersonate-group"] in {"a", "b"}
    await transport.close()


async def test_a_proxy_from_the_environment_is_used(server: ApiServer) -> None:
    """Requests go by the proxy unless NO_PROXY names the server."""
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    environment = {"HTTP_PROXY": f"http://127.0.0.1:{port}"}
    transport = connect(master="http://api.lab.test:8080", environment=environment)
    assert await transport.read("/version") == b"{}"
    assert seen == [b"GET http://api.lab.test:8080/version HTTP/1.1\r\n"]
    await transport.close()
    listener.close()
