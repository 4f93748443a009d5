# SPDX-License-Identifier: Apache-2.0
"""Area options: command line and file."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kproxy.config.decode import configuration_of, decode
from kproxy.config.defaults import for_platform
from kproxy.config.durations import parse_duration
from kproxy.config.effective import effective
from kproxy.config.live import End, judge
from kproxy.config.loading import complete, load, override_hostname
from kproxy.table.errors import ConfigError

_FILE = """apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
conntrack: {{maxPerCore: 0}}
kproxy: {{manifests: {manifests}}}
"""
_BROKEN = """import sys
from unittest import mock
from kproxy.cli import main
from kproxy.table.errors import KproxyError
with mock.patch(sys.argv[1], mock.AsyncMock(side_effect=KproxyError(sys.argv[2]))):
    sys.exit(main(sys.argv[3:]))
"""


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
    if re.search(r"remove|delete", action):
        file.unlink()
        return None
    if re.search(r"rename|move", action):
        file.rename(file.with_suffix(".moved"))
        return None
    with file.open("a", encoding="utf-8") as opened:
        opened.write("append fake content")
    return file.read_text(encoding="utf-8")


def _loop_breaks(expect: dict[str, Any]) -> None:
    """Have the daemon's loop fail: its words are the process's last ones, and its exit code tells."""
    words = expect.get("errorContains") or "the loop broke"
    target = "kproxy.daemon.loop.Loop.run" if os.geteuid() == 0 else "kproxy.cli.run.run"
    with tempfile.TemporaryDirectory() as folder:
        file, manifests = Path(folder, "config.yaml"), Path(folder, "manifests")
        manifests.mkdir()
        file.write_text(_FILE.format(manifests=manifests), encoding="utf-8")
        own_network = ["unshare", "--net"] if os.geteuid() == 0 else []
        ended = subprocess.run(
            [*own_network, sys.executable, "-c", _BROKEN, target, words, f"--config={file}"],
            capture_output=True,
            text=True,
            timeout=float(expect.get("withinSeconds", 10)) + 20,
            check=False,
        )
    assert (ended.returncode != 0) == expect["exits"], f"exit code {ended.returncode}: {ended.stderr}"
    assert words in ended.stderr, ended.stderr


def _action(given: dict[str, Any], expect: dict[str, Any]) -> None:
    """Judge the change; where namespaces can be made, a real process must end accordingly as well."""
    with tempfile.TemporaryDirectory() as folder:
        file, manifests = Path(folder, "config.yaml"), Path(folder, "manifests")
        manifests.mkdir()
        file.write_text(_FILE.format(manifests=manifests), encoding="utf-8")
        start = complete(load([f"--config={file}"]), nftables_works=True)
        if os.geteuid() == 0:
            _run_process(file, given["action"], expect)
            file.write_text(_FILE.format(manifests=manifests), encoding="utf-8")
        decision = judge(start, _change(given["action"], file))
    assert isinstance(decision, End) == expect["exits"], decision
    if isinstance(decision, End):
        assert expect.get("errorContains", "") in decision.words, decision.words


def _run_process(file: Path, action: str, expect: dict[str, Any]) -> None:
    """Start kproxy in a network namespace of its own, change the file once it is ready, and see how it ends."""
    log = file.with_suffix(".log")
    within = float(expect.get("withinSeconds", 10))
    arguments = ["unshare", "--net", sys.executable, "-m", "kproxy", f"--config={file}"]
    with log.open("w", encoding="utf-8") as written, subprocess.Popen(arguments, stderr=written) as process:
        try:
            _wait_for("ready:", log, process)
            _change(action, file)
            code = process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            process.kill()
    words = log.read_text(encoding="utf-8")
    assert (code not in (0, None)) == expect["exits"], f"exit code {code}: {words}"
    assert expect.get("errorContains", "") in words, words


def _wait_for(word: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while word not in log.read_text(encoding="utf-8"):
        assert process.poll() is None, f"it ended before it was ready: {log.read_text(encoding='utf-8')}"
        assert time.monotonic() < deadline, f"it was not ready in time: {log.read_text(encoding='utf-8')}"
        time.sleep(0.05)


def run(case: dict[str, Any]) -> None:
    """Compare loading, precedence, and what a changed file leads to."""
    given, expect = case["input"], case["expect"]
    if "file" in given:
        assert _loads(given["file"]) == expect["loads"]
    elif "flag" in given:
        found = _hostname(given)
        assert found == expect, found
    elif "action" in given and "file" not in given["action"] and re.search(r"error|fail|broke", given["action"]):
        _loop_breaks(expect)
    elif "action" in given:
        _action(given, expect)
    else:
        _flags(given, expect)
