# SPDX-License-Identifier: Apache-2.0
"""What kube-proxy calls things in the kernel: the sole mark by which its leftovers are told.

Facts from ``pkg/proxy/{iptables,ipvs,nftables}`` of releases up to 1.37. A name with a hash is recognised by its whole
form, so that the ``KUBE-`` chains of others (kubelet, network policies, CNI plugins) are never touched.
"""

import re
from typing import Final

from kproxy.table.terms import Protocol

NFT_TABLE: Final = "kube-proxy"

# By table. KUBE-FIREWALL, KUBE-MARK-DROP, KUBE-KUBELET-CANARY and KUBE-IPTABLES-HINT are kubelet's.
CHAINS: Final[dict[str, frozenset[str]]] = {
    "nat": frozenset({
        "KUBE-SERVICES",
        "KUBE-NODEPORTS",
        "KUBE-POSTROUTING",
        "KUBE-MARK-MASQ",
        "KUBE-PROXY-CANARY",
        "KUBE-NODE-PORT",
        "KUBE-LOAD-BALANCER",
    }),
    "filter": frozenset({
        "KUBE-SERVICES",
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-NODEPORTS",
        "KUBE-FORWARD",
        "KUBE-PROXY-FIREWALL",
        "KUBE-PROXY-CANARY",
        "KUBE-NODE-PORT",
        "KUBE-SOURCE-RANGES-FIREWALL",
        "KUBE-IPVS-FILTER",
        "KUBE-IPVS-OUT-FILTER",
    }),
    "mangle": frozenset({"KUBE-PROXY-CANARY"}),
}  # fmt: skip
HASHED: Final = re.compile(r"KUBE-(?:SVC|SVL|SEP|FW|EXT|XLB)-[A-Z2-7]{16}")  # table nat; XLB up to 1.23
JUMP_COMMENT: Final = "kubernetes "  # how the comment of each jump from a built-in chain begins

DEVICE: Final = "kube-ipvs0"
_SETS: Final = (
    "LOOP-BACK",
    "CLUSTER-IP",
    "EXTERNAL-IP",
    "EXTERNAL-IP-LOCAL",
    "LOAD-BALANCER",
    "LOAD-BALANCER-LOCAL",
    "LOAD-BALANCER-FW",
    "LOAD-BALANCER-SOURCE-CIDR",
    "LOAD-BALANCER-SOURCE-IP",
    "NODE-PORT-TCP",
    "NODE-PORT-UDP",
    "NODE-PORT-LOCAL-TCP",
    "NODE-PORT-LOCAL-UDP",
    "NODE-PORT-SCTP-HASH",
    "NODE-PORT-LOCAL-SCTP-HASH",
    "HEALTH-CHECK-NODE-PORT",
    "IPVS-IPS",
)
SETS: Final = frozenset(f"KUBE-{family}{name}"[:31] for name in _SETS for family in ("", "6-"))  # 31: the kernel's limit
NODE_PORT_SETS: Final = {
    Protocol.TCP: ("KUBE-NODE-PORT-TCP", "KUBE-6-NODE-PORT-TCP"),
    Protocol.UDP: ("KUBE-NODE-PORT-UDP", "KUBE-6-NODE-PORT-UDP"),
}


def is_chain(table: str, chain: str) -> bool:
    """Tell whether kube-proxy makes a chain of that name in that table."""
    return chain in CHAINS.get(table, ()) or (table == "nat" and HASHED.fullmatch(chain) is not None)
