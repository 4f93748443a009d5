# SPDX-License-Identifier: Apache-2.0
"""Area bad_config: settings that do not fit the node's families."""

from collections.abc import Iterable
from typing import Any

from kproxy.config.decode import configuration_of
from kproxy.config.family_checks import Misfit, check_families, check_node_port_addresses
from kproxy.table.terms import Family


def _judged(misfits: Iterable[Misfit]) -> dict[str, bool]:
    found = list(misfits)
    return {"complaint": bool(found), "fatal": any(misfit.fatal for misfit in found)}


def run(case: dict[str, Any]) -> None:
    """Whether there is a complaint, and whether the start ends."""
    given, expect = case["input"], case["expect"]
    values = {
        key: given[key]
        for key in given
        if given[key] is not None and key in {"detectLocalMode", "metricsBindAddress", "healthzBindAddress"}
    }
    values["clusterCIDR"] = ",".join(given.get("clusterCIDRs") or ())
    values["nodePortAddresses"] = given.get("nodePortAddresses") or []
    values["ipvs"] = {"excludeCIDRs": given.get("ipvs.excludeCIDRs") or []}
    if given.get("winkernel.sourceVip"):
        values["winkernel"] = {"sourceVip": given["winkernel.sourceVip"]}
    config = configuration_of(values)
    primary = Family(given["primaryFamily"])
    pods = given.get("podCIDRs") or ()
    if "nodePortAddresses" in given:
        judged = _judged(check_node_port_addresses(config, primary, pods))
        assert {key: judged[key] for key in expect} == expect, judged
        return
    for host, dual_stack in (("singleStackNode", False), ("dualStackNode", True)):
        if host in expect:
            judged = _judged(check_families(config, primary, pods, dual_stack=dual_stack))
            assert {key: judged[key] for key in expect[host]} == expect[host], f"{host}: {judged}"
