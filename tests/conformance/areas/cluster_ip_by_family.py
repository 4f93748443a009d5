# SPDX-License-Identifier: Apache-2.0
"""Area cluster_ip_by_family: the cluster IP of one family, from old objects and new ones."""

from typing import Any

from kproxy.routing.frontends import cluster_ip
from kproxy.table.terms import Family
from tests.conformance.build import service


def run(case: dict[str, Any]) -> None:
    """Compare the address of the wanted family, empty where there is none."""
    given = dict(case["input"])
    wanted = Family(given.pop("want"))
    item = service({"metadata": {"namespace": "ns1", "name": "svc1"}, "spec": given})
    found = cluster_ip(item.spec, wanted)
    assert found == case["expect"]["clusterIP"], f"cluster IP is {found!r}"
