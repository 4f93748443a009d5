# SPDX-License-Identifier: Apache-2.0
"""HTTP proxies from the environment, with the rules that the cluster's other programs have.

Those are Go's (golang.org/x/net/http/httpproxy): unlike Python's they let NO_PROXY hold prefixes, which is how everybody
excludes the Pod and Service ranges.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from kproxy.table.addresses import Address
from kproxy.table.errors import ConfigError


def proxy_of(server: str, configured: str, environment: Mapping[str, str]) -> str:
    """Return the URL of the proxy towards a server, empty for none. ``configured`` is the kubeconfig's own, which wins."""
    proxy = configured or _from_environment(server, environment)
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and not proxy.startswith(("http://", "https://")):
        raise ConfigError(
            f"proxy {proxy} is not spoken: use an http:// or https:// proxy, or exclude the server by NO_PROXY"
        )
    return proxy


def _from_environment(server: str, environment: Mapping[str, str]) -> str:
    parts = urlsplit(server)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    variable = f"{parts.scheme.upper()}_PROXY"
    proxy = environment.get(variable) or environment.get(variable.lower()) or ""
    excluded = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    return "" if not proxy or _is_excluded(host, port, excluded) else proxy


def _is_excluded(host: str, port: int, excluded: str) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_excludes(entry.strip().lower(), host, port, address) for entry in excluded.split(",") if entry.strip())


def _excludes(entry: str, host: str, port: int, address: Address | None) -> bool:
    """Tell whether one entry of NO_PROXY covers the server."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit() and _address(entry) is None:
        if int(wanted) != port:
            return False
        entry = name.strip("[]")
    if address is not None:
        return _address(entry) == address
    entry = entry.removeprefix("*")
    return host.endswith(entry) if entry.startswith(".") else host == entry or host.endswith(f".{entry}")


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
