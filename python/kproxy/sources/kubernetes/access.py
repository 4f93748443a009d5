# SPDX-License-Identifier: Apache-2.0
"""Where an API server is and how to get in, as one value. The field names are those of a kubeconfig file."""

from typing import Any, Final

import msgspec

EXEC_EXTENSION: Final = "client.authentication.k8s.io/exec"


class NamedExtension(msgspec.Struct, frozen=True):
    """Settings of a third party within a cluster; only those for exec plugins are passed on."""

    name: str
    extension: Any = None


class Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    """Where the API server is and how it is known to be the right one."""

    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: bytes = b""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    extensions: tuple[NamedExtension, ...] = ()


class EnvironmentVariable(msgspec.Struct, frozen=True):
    """One variable for an exec plugin."""

    name: str
    value: str = ""


class ExecConfig(msgspec.Struct, frozen=True, rename="camel"):
    """A program that prints credentials."""

    api_version: str
    command: str
    args: tuple[str, ...] | None = None
    env: tuple[EnvironmentVariable, ...] | None = None
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = "IfAvailable"


class AuthProvider(msgspec.Struct, frozen=True):
    """A way in that only the official client library knows."""

    name: str


class User(
    msgspec.Struct,
    frozen=True,
    rename={
        "client_certificate": "client-certificate",
        "client_certificate_data": "client-certificate-data",
        "client_key": "client-key",
        "client_key_data": "client-key-data",
        "token_file": "tokenFile",
        "auth_provider": "auth-provider",
        "act_as": "as",
        "act_as_uid": "as-uid",
        "act_as_groups": "as-groups",
    },
):
    """Who we are."""

    client_certificate: str = ""
    client_certificate_data: bytes = b""
    client_key: str = ""
    client_key_data: bytes = b""
    token: str = ""
    token_file: str = ""
    username: str = ""
    password: str = ""
    exec: ExecConfig | None = None
    auth_provider: AuthProvider | None = None
    act_as: str = ""
    act_as_uid: str = ""
    act_as_groups: tuple[str, ...] = ()


class Access(msgspec.Struct, frozen=True):
    """An API server and our way in. ``origin`` says where this was read, for messages; ``files`` are its kubeconfigs."""

    cluster: Cluster
    user: User
    origin: str
    files: tuple[str, ...] = ()
