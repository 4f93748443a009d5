# SPDX-License-Identifier: Apache-2.0
"""Area options: command line and file."""

import re
import tempfile
from pathlib import Path
from typing import Any

from kproxy.config.decode import configuration_of, decode
from kproxy.config.defaults import for_platform
from kproxy.config.durations import parse_duration
from kproxy.config.effective import effective
from kproxy.config.live import End, judge
from kproxy.config.loading import load, override_hostname
from kproxy.table.errors import ConfigError

_FILE = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n"


def _loads(text: str) -> bool:
    try:
        decode(text, "the case's file")
    except ConfigError:
        return False
    return True


def _hostname(given: dict[str, Any]) -> dict[str, Any]:
    try:
        config = override_hostname(configuration_of({"hostnameOverride": given["config"]}), given["flag"])
    except ConfigError:
        return {"error": True}
    return {"hostname": config.hostname_override}


def _flags(given: dict[str, Any], expect: dict[str, Any]) -> None:
    arguments = [f"{name}={value}" for name, value in given.items() if name.startswith("--")]
    if "mode" in given:
        arguments.append(f"--proxy-mode={given['mode']}")
    config = load(arguments).config
    in_force = effective(for_platform(config, nftables_works=False))
    for key, value in expect.items():
        match key:
            case "syncPeriod":
                assert in_force.sync_period == parse_duration(value), f"{key}: {in_force.sync_period}"
            case "minSyncPeriod":
                assert in_force.min_sync_period == parse_duration(value), f"{key}: {in_force.min_sync_period}"
            case "clusterCIDRs":
                assert list(in_force.cluster_cidrs) == value, f"{key}: {in_force.cluster_cidrs}"
            case _:
                raise AssertionError(f"nothing is known of {key}")


def _change(action: str, file: Path) -> str | None:
    """Do to a file what upstream's own test does, and return what it then holds."""
    if re.search(r"remove|delete|rename|move", action):
        file.unlink()
        return None
    with file.open("a", encoding="utf-8") as opened:
        opened.write("append fake content")
    return file.read_text(encoding="utf-8")


def _action(given: dict[str, Any], expect: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.yaml")
        file.write_text(_FILE, encoding="utf-8")
        start = load([f"--config={file}"])
        decision = judge(start, _change(given["action"], file))
    assert isinstance(decision, End) == expect["exits"], decision
    if isinstance(decision, End):
        assert expect.get("errorContains", "") in decision.words, decision.words


def run(case: dict[str, Any]) -> None:
    """Compare loading, precedence, and what a changed file leads to."""
    given, expect = case["input"], case["expect"]
    if "file" in given:
        assert _loads(given["file"]) == expect["loads"]
    elif "flag" in given:
        found = _hostname(given)
        assert found == expect, found
    elif "action" in given:
        _action(given, expect)
    else:
        _flags(given, expect)
