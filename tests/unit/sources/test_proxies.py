# SPDX-License-Identifier: Apache-2.0
"""Proxies from the environment, by the rules of golang.org/x/net/http/httpproxy."""

import pytest

from kproxy.sources.kubernetes.proxies import proxy_of
from kproxy.table.errors import ConfigError

PROXY = {"HTTPS_PROXY": "http://proxy:3128", "http_proxy": "plain:8080"}


@pytest.mark.parametrize(
    ("server", "excluded", "proxied"),
    [
        ("https://api.example.com:6443", "", True),
        ("https://api.example.com:6443", "*", False),
        ("https://api.example.com:6443", "example.com", False),
        ("https://api.example.com:6443", ".example.com", False),
        ("https://example.com", ".example.com", True),
        ("https://api.example.com:6443", "*.example.com", False),
        ("https://notexample.com", "example.com", True),
        ("https://api.example.com:6443", "api.example.com:443", True),
        ("https://api.example.com:6443", " api.example.com:6443 , other", False),
        ("https://10.96.0.1", "10.0.0.0/8", False),
        ("https://10.96.0.1:443", "10.96.0.1", False),
        ("https://10.96.0.1:443", "10.96.0.1:80", True),
        ("https://11.0.0.1", "10.0.0.0/8,garbage/99", True),
        ("https://[fd00:96::1]:443", "fd00:96::/32", False),
        ("https://[fd00:96::1]:443", "fd00:96::1", False),
        ("https://[fd00:96::1]:443", "[fd00:96::1]:443", False),
        ("https://localhost:6443", "", False),
        ("https://127.0.0.1:6443", "", False),
        ("https://[::1]:6443", "", False),
    ],
)
def test_no_proxy_holds_names_addresses_and_prefixes(server: str, excluded: str, proxied: bool) -> None:
    """Loopback is never proxied."""
    assert proxy_of(server, "", {**PROXY, "NO_PROXY": excluded}) == ("http://proxy:3128" if proxied else "")


def test_the_scheme_chooses_the_variable_and_a_bare_name_is_http() -> None:
    """Lower-case variables count as well."""
    assert proxy_of("http://api", "", PROXY) == "http://plain:8080"
    assert proxy_of("https://api", "", {}) == ""


def test_the_kubeconfig_wins_over_the_environment() -> None:
    """``proxy-url`` is not subject to NO_PROXY."""
    assert proxy_of("https://api", "http://own:1", {**PROXY, "NO_PROXY": "*"}) == "http://own:1"


def test_a_proxy_that_is_not_spoken_is_refused() -> None:
    """SOCKS is not there; the sentence says what is."""
    with pytest.raises(ConfigError, match="use an http:// or https:// proxy"):
        proxy_of("https://api", "socks5://own:1", {})
