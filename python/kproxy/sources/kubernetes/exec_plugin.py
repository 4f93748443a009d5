# SPDX-License-Identifier: Apache-2.0
"""Exec plugins: programs that print an ExecCredential (client.authentication.k8s.io/v1 and v1beta1).

kproxy is a daemon: a plugin never gets a terminal to ask on. What it prints is used until it expires or is refused.
"""

import asyncio
import base64
import datetime as dt
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from kproxy.sources.kubernetes.access import EXEC_EXTENSION, Access, Cluster, ExecConfig
from kproxy.sources.kubernetes.credentials import Certificate
from kproxy.table.clock import Clock
from kproxy.table.errors import ConfigError, SourceError, Unauthorized

API_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
PATIENCE: Final = 60.0  # seconds a plugin may take


class CredentialStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What the plugin found."""

    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: dt.datetime | None = None


class ExecCredential(msgspec.Struct, frozen=True, rename="camel"):
    """What the plugin prints."""

    api_version: str
    kind: str
    status: CredentialStatus | None = None


class ExecPlugin:
    """Runs a plugin when there is nothing good left from the last time."""

    def __init__(
        self, config: ExecConfig, access: Access, *, clock: Clock, environment: Mapping[str, str] = os.environ
    ) -> None:
        if config.api_version not in API_VERSIONS:
            raise ConfigError(
                f"{access.origin}: exec apiVersion {config.api_version} is not known: use {' or '.join(API_VERSIONS)}"
            )
        if config.interactive_mode == "Always":
            raise ConfigError(
                f"{access.origin}: exec plugin {config.command} wants a terminal, a daemon has none: use another"
            )
        self._config = config
        self._cluster = access.cluster
        self._clock = clock
        self._environment = environment
        self._status: CredentialStatus | None = None
        self._running = asyncio.Lock()

    async def authorization(self) -> str:
        """Return the plugin's token as a header, empty if it only made a certificate."""
        async with self._running:
            if self._status is None or self._expired(self._status):
                self._status = await self._run()
            return f"Bearer {self._status.token}" if self._status.token else ""

    def certificate(self) -> Certificate | None:
        """Return the plugin's certificate, if it made one."""
        status = self._status
        if status is None or not status.client_certificate_data:
            return None
        return Certificate(data=status.client_certificate_data.encode(), key_data=status.client_key_data.encode())

    def refused(self) -> None:
        """Run the plugin again next time."""
        self._status = None

    def _expired(self, status: CredentialStatus) -> bool:
        return status.expiration_timestamp is not None and self._clock.wall() >= status.expiration_timestamp.timestamp()

    async def _run(self) -> CredentialStatus:
        name = self._config.command
        hint = f"; {' '.join(self._config.install_hint.split())}" if self._config.install_hint else ""
        environment = {**self._environment, **{variable.name: variable.value for variable in self._config.env or ()}}
        environment["KUBERNETES_EXEC_INFO"] = self._exec_info()
        program = shutil.which(name, path=environment.get("PATH"))
        if program is None:
            raise Unauthorized(f"exec plugin {name} is not an executable on PATH: install it{hint}")
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *(self._config.args or ()),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise Unauthorized(f"exec plugin {name} cannot be started: {error.strerror}{hint}") from error
        try:
            async with asyncio.timeout(PATIENCE):
                output, complaint = await process.communicate()
        except TimeoutError as error:
            raise Unauthorized(
                f"exec plugin {name} took longer than {PATIENCE:.0f} s and was stopped: run it by hand"
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            words = complaint.decode(errors="replace").strip().splitlines()
            raise Unauthorized(
                f"exec plugin {name} failed with code {process.returncode}: {words[-1] if words else 'no words'}{hint}"
            )
        return self._read(output)

    def _read(self, output: bytes) -> CredentialStatus:
        name = self._config.command
        try:
            credential = msgspec.json.decode(output, type=ExecCredential)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Unauthorized(f"exec plugin {name} printed no ExecCredential ({error}): run it by hand") from error
        if credential.kind != "ExecCredential" or credential.api_version != self._config.api_version:
            found = f"{credential.api_version} {credential.kind}"
            raise Unauthorized(
                f"exec plugin {name} printed {found}, not {self._config.api_version} ExecCredential: mend apiVersion"
            )
        status = credential.status
        if status is None or not (status.token or status.client_certificate_data):
            raise Unauthorized(f"exec plugin {name} printed neither a token nor a certificate: run it by hand")
        if bool(status.client_certificate_data) != bool(status.client_key_data):
            raise Unauthorized(f"exec plugin {name} printed a certificate without key, or a key without certificate")
        return status

    def _exec_info(self) -> str:
        spec: dict[str, Any] = {"interactive": False}
        if self._config.provide_cluster_info:
            spec["cluster"] = cluster_info(self._cluster)
        return msgspec.json.encode({"apiVersion": self._config.api_version, "kind": "ExecCredential", "spec": spec}).decode()


def cluster_info(cluster: Cluster) -> dict[str, Any]:
    """Return ExecCredential's ``spec.cluster``. Raises SourceError when the authority cannot be read."""
    authority = cluster.certificate_authority_data
    if cluster.certificate_authority and not authority:
        try:
            authority = Path(cluster.certificate_authority).read_bytes()
        except OSError as error:
            raise SourceError(
                f"authority {cluster.certificate_authority} cannot be read: {error.strerror}; mend it"
            ) from error
    info: dict[str, Any] = {"server": cluster.server}
    if authority:
        info["certificate-authority-data"] = base64.b64encode(authority).decode()
    if cluster.insecure_skip_tls_verify:
        info["insecure-skip-tls-verify"] = True
    if cluster.tls_server_name:
        info["tls-server-name"] = cluster.tls_server_name
    if cluster.proxy_url:
        info["proxy-url"] = cluster.proxy_url
    for extension in cluster.extensions:
        if extension.name == EXEC_EXTENSION:
            info["config"] = extension.extension
    return info
