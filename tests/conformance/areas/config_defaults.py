# SPDX-License-Identifier: Apache-2.0
"""Area config_defaults: what a file becomes after defaulting, on a kernel without nftables."""

import re
from typing import Any

from kproxy.config.decode import configuration_of
from kproxy.config.defaults import for_platform, with_defaults
from kproxy.config.durations import parse_duration
from kproxy.config.write import as_values

_DURATION = re.compile(r"-?\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h).*")


def _same(expected: Any, actual: Any, path: str) -> None:
    if isinstance(expected, dict) and isinstance(actual, dict) and expected:
        for key, value in expected.items():
            assert key in actual, f"{path}{key} is missing"
            _same(value, actual[key], f"{path}{key}.")
        return
    if isinstance(expected, str) and isinstance(actual, str) and _DURATION.fullmatch(expected):
        assert parse_duration(actual) == parse_duration(expected), f"{path}: {actual}, expected {expected}"
        return
    assert actual == expected, f"{path}: {actual!r}, expected {expected!r}"


def run(case: dict[str, Any]) -> None:
    """Compare the keys that are expected."""
    config = for_platform(with_defaults(configuration_of(case["input"].get("config") or {})), nftables_works=False)
    _same(case["expect"], as_values(config), "")
