# SPDX-License-Identifier: Apache-2.0
"""Tokens and certificates."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer
from kproxy.lab.apiserver.authentication import tls_context
from tests.api.wire import SERVICES


def openssl(directory: Path, *arguments: str) -> None:
    """Run openssl where the files are."""
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority, a server's certificate for 127.0.0.1 and a client's."""
    directory = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(directory, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=lab", "-days", "2")
    for name, subject in (("server", "/CN=lab-server"), ("client", "/O=system:nodes/CN=system:node:n1")):
        openssl(directory, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        (directory / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
        sign = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions")
        openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *sign)
    return directory


def client_context(directory: Path, *, certificate: bool) -> ssl.SSLContext:
    """Return a client's TLS, with a certificate of its own or without."""
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    if certificate:
        context.load_cert_chain(directory / "client.crt", directory / "client.key")
    return context


async def test_a_token_lets_in_until_it_changes() -> None:
    """401 Unauthorized for none and for an old one (apiserver pkg/endpoints/filters/authentication.go)."""
    async with ApiServer(tokens=frozenset({"old"})) as server, aiohttp.ClientSession(server.url) as http:

        async def status(token: str | None) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with http.get(SERVICES, headers=headers) as answer:
                body = await answer.json()
            if answer.status == 401:
                assert (body["kind"], body["reason"], body["message"]) == ("Status", "Unauthorized", "Unauthorized")
            return answer.status

        assert [await status(None), await status("wrong"), await status("old")] == [401, 401, 200]
        server.authentication.tokens = frozenset({"new"})
        assert [await status("old"), await status("new")] == [401, 200]
        async with http.get("/livez") as answer:
            assert answer.status == 200, "health wants no credentials"


async def test_a_certificate_lets_in(certificates: Path) -> None:
    """A client certificate of the authority lets in, TLS alone does not."""
    tls = tls_context(certificates / "server.crt", certificates / "server.key", certificates / "ca.crt")
    async with ApiServer(tls=tls) as server, aiohttp.ClientSession(server.url) as http:
        for certificate, expected in ((True, 200), (False, 401)):
            context = client_context(certificates, certificate=certificate)
            async with http.get(SERVICES, ssl=context) as answer:
                assert answer.status == expected
        assert server.url.startswith("https://127.0.0.1:")
    await asyncio.sleep(0.05)  # let the client's TLS connections close


async def test_a_token_does_as_well_as_a_certificate(certificates: Path) -> None:
    """Where both are possible, either will do."""
    tls = tls_context(certificates / "server.crt", certificates / "server.key", certificates / "ca.crt")
    async with ApiServer(tls=tls, tokens=frozenset({"t"})) as server, aiohttp.ClientSession(server.url) as http:
        context = client_context(certificates, certificate=False)
        async with http.get(SERVICES, ssl=context, headers={"Authorization": "Bearer t"}) as answer:
            assert answer.status == 200
    await asyncio.sleep(0.05)


async def test_a_stranger_to_the_authority_is_not_trusted(certificates: Path) -> None:
    """The server's certificate is checked by the client: without the authority there is no connection."""
    tls = tls_context(certificates / "server.crt", certificates / "server.key")
    async with ApiServer(tls=tls) as server, aiohttp.ClientSession(server.url) as http:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(SERVICES)
    await asyncio.sleep(0.05)
