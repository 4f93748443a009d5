# SPDX-License-Identifier: Apache-2.0
"""Area config_validation: a base configuration with overrides is judged as it stands.

A case that names a mode and says nothing at all of its section asks about the mode, not about the section's periods.
"""

import re
from typing import Any, Final

import msgspec

from kproxy.config.decode import configuration_of
from kproxy.config.effective import section_of
from kproxy.config.validation import validate

BASE: Final[dict[str, Any]] = {
    "bindAddress": "192.168.59.103",
    "healthzBindAddress": "0.0.0.0:10256",
    "metricsBindAddress": "127.0.0.1:10249",
    "clusterCIDR": "192.168.59.0/24",
    "configSyncPeriod": "1s",
    "mode": "iptables",
    "detectLocalMode": "ClusterCIDR",
    "iptables": {"masqueradeAll": True, "syncPeriod": "5s", "minSyncPeriod": "2s"},
    "ipvs": {"syncPeriod": "5s", "minSyncPeriod": "2s"},
    "conntrack": {"maxPerCore": 1, "min": 1, "tcpEstablishedTimeout": "5s", "tcpCloseWaitTimeout": "5s"},
    "logging": {"format": "text"},
}


def _without_index(field: str) -> str:
    return re.sub(r"\[\d+\]", "", field)


def _section(field: str) -> str:
    return _without_index(field).partition(".")[0]


def run(case: dict[str, Any]) -> None:
    """Each field listed is named by a problem, and no field of another section is."""
    given = case["input"]
    expect = case["expect"]
    named: list[str]
    try:
        values = {**BASE, **(given.get("base") or {}), **(given.get("overrides") or {})}
        config = configuration_of({section_of(values.get("mode") or ""): {"syncPeriod": "30s"}, **values})
        named = [problem.field for problem in validate(config)]
    except msgspec.ValidationError as error:  # of a wrong type already
        named = re.findall(r"`\$\.(.*)`", str(error))
    wanted = [error["field"] for error in expect.get("errors") or ()]
    assert (not named) == expect.get("valid", not wanted), f"problems found: {named}"
    for field in wanted:
        matches = {field, _without_index(field)} if "[" in field else {field}
        found = {name for name in named if name in matches or _without_index(name) == field}
        assert found, f"{field} is not named among {named}"
    allowed = {_section(field) for field in wanted}
    surplus = [name for name in named if _section(name) not in allowed]
    assert not surplus, f"fields of other sections are named: {surplus}"
