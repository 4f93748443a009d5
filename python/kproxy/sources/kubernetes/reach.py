# SPDX-License-Identifier: Apache-2.0
"""Which API server to talk to, and as whom.

What counts, in this order, is what counts for kube-proxy: ``--kubeconfig``; ``--master`` alone, without credentials; the
Pod's own service account. Where kube-proxy gives up, ``$KUBECONFIG`` is tried last. ``--master`` always names the server.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from kproxy.sources.kubernetes.access import Access, Cluster, User
from kproxy.sources.kubernetes.kubeconfig import load
from kproxy.table.errors import ConfigError

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def reach(kubeconfig: str, master: str, environment: Mapping[str, str] = os.environ) -> Access:
    """Decide which API server to talk to, and as whom. Raises ConfigError with the mend."""
    if kubeconfig:
        access = load((Path(kubeconfig),))
    elif master:
        access = Access(Cluster(), User(), "--master")
    elif environment.get("KUBERNETES_SERVICE_HOST") and environment.get("KUBERNETES_SERVICE_PORT"):
        access = in_cluster(environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"])
    elif environment.get("KUBECONFIG"):
        access = load(tuple(Path(path) for path in environment["KUBECONFIG"].split(":") if path))
    else:
        raise ConfigError(
            "there is no API server to talk to: give --kubeconfig or --master, run in a Pod with a service account, "
            "or give --manifests DIR to do without one"
        )
    server = (master or access.cluster.server).rstrip("/")
    if not server:
        raise ConfigError(f"{access.origin} names no server: set clusters[].cluster.server, or give --master")
    if "://" not in server:
        secure = access.cluster.certificate_authority or access.cluster.certificate_authority_data
        server = f"{'https' if secure else 'http'}://{server}"
    if not server.startswith(("http://", "https://")):
        raise ConfigError(f"{access.origin}: the server {server} is neither http:// nor https://")
    return msgspec.structs.replace(access, cluster=msgspec.structs.replace(access.cluster, server=server))


def in_cluster(host: str, port: str, account: Path = SERVICE_ACCOUNT) -> Access:
    """Return the way in that every Pod has. Token and authority are files that the kubelet renews."""
    for name in ("token", "ca.crt"):
        if not (account / name).is_file():
            raise ConfigError(
                f"{account / name} is missing: let the Pod mount its service account's token, or give --kubeconfig"
            )
    return Access(
        Cluster(
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}", certificate_authority=str(account / "ca.crt")
        ),
        User(token_file=str(account / "token")),
        "the Pod's service account",
    )
