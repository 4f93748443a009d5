# SPDX-License-Identifier: Apache-2.0
"""Rule sets in the shape of kube-proxy's, for taking over, cleaning up and comparing.

Own text after the documented shape (releases up to 1.35): in nftables a chain for every Service port and endpoint,
reached by verdict maps, and an anonymous map that picks the endpoint; in iptables one linear list of Services, a chain
for every Service port and endpoint. Traffic really flows through them.
"""

import base64
import hashlib
import ipaddress
from collections.abc import Iterator, Sequence

import msgspec

from kproxy.table.addresses import join_port
from kproxy.table.terms import Family

MARK = "0x4000"
PODS = {Family.IPV4: "10.244.0.0/16", Family.IPV6: "fd00:10:244::/48"}


class Service(msgspec.Struct, frozen=True):
    """One Service port: ``endpoints`` are ``(address, port)``; ``node_port`` 0 for none."""

    name: str  # namespace/name
    address: str
    port: int
    endpoints: tuple[tuple[str, int], ...]
    protocol: str = "tcp"
    node_port: int = 0
    external: tuple[str, ...] = ()

    def hashed(self, length: int, more: str = "") -> str:
        """Return the upper-case base32 hash that upstream's names carry."""
        digest = hashlib.sha256(f"{self.name}:{self.protocol}{more}".encode()).digest()
        return base64.b32encode(digest).decode()[:length]


def services(count: int, endpoints: int, family: Family = Family.IPV4) -> list[Service]:
    """Make ``count`` Services with so many endpoints each; addresses and NodePorts are their own."""
    if family is Family.IPV4:
        first, pods = ipaddress.ip_address("10.96.0.1"), ipaddress.ip_address("10.200.0.1")
    else:
        first, pods = ipaddress.ip_address("fd00:10:96::1"), ipaddress.ip_address("fd00:10:200::1")
    return [
        Service(
            name=f"space-{index % 10}/service-{index}",
            address=str(first + index),
            port=80,
            endpoints=tuple((str(pods + index * endpoints + number), 8080) for number in range(endpoints)),
            node_port=30000 + index if index < 2000 else 0,
        )
        for index in range(count)
    ]


def nftables(given: Sequence[Service], family: Family = Family.IPV4) -> str:
    """Return ``nft -f`` text of a whole table ``kube-proxy``."""
    word, kind = ("ip", "ipv4_addr") if family is Family.IPV4 else ("ip6", "ipv6_addr")
    endpoints, wrong_port = "ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"
    lines = [
        f"table {word} kube-proxy {{",
        '  comment "rules for kube-proxy"',
        *_elements(f"set cluster-ips {{ type {kind}", [service.address for service in given]),
        *_elements(
            f"map service-ips {{ type {kind} . inet_proto . inet_service : verdict",
            [
                f"{address} . {service.protocol} . {service.port} : goto {_nft_chain(prefix, service)}"
                for service in given
                if service.endpoints
                for address, prefix in [
                    (service.address, "service"),
                    *((address, "external") for address in service.external),
                ]
            ],
        ),
        *_elements(
            "map service-nodeports { type inet_proto . inet_service : verdict",
            [
                f"{service.protocol} . {service.node_port} : goto {_nft_chain('external', service)}"
                for service in given
                if service.node_port and service.endpoints
            ],
        ),
        *_elements(
            f"map no-endpoint-services {{ type {kind} . inet_proto . inet_service : verdict",
            [f"{item.address} . {item.protocol} . {item.port} : goto reject-chain" for item in given if not item.endpoints],
        ),
        *_chain("reject-chain", "reject"),
        *_chain("mark-for-masquerade", f"mark set mark or {MARK}"),
        *_chain("masquerading", f"mark and {MARK} == 0 return", f"mark set mark xor {MARK}", "masquerade fully-random"),
        *_chain("cluster-ips-check", f"{word} daddr @cluster-ips reject"),
        *_chain(
            "services",
            f"{word} daddr . meta l4proto . th dport vmap @service-ips",
            "fib daddr type local meta l4proto . th dport vmap @service-nodeports",
        ),
        *_chain("service-endpoints-check", f"{word} daddr . meta l4proto . th dport vmap @no-endpoint-services"),
        *_chain("filter-input", "type filter hook input priority -110", endpoints),
        *_chain("filter-forward", "type filter hook forward priority -110", endpoints, wrong_port),
        *_chain("filter-output", "type filter hook output priority -110", endpoints),
        *_chain("filter-output-post-dnat", "type filter hook output priority -90", wrong_port),
        *_chain("nat-prerouting", "type nat hook prerouting priority -100", "jump services"),
        *_chain("nat-output", "type nat hook output priority -100", "jump services"),
        *_chain("nat-postrouting", "type nat hook postrouting priority 100", "jump masquerading"),
    ]
    for service in given:
        lines += _nft_service(service, word, PODS[family])
    return "\n".join([*lines, "}", ""])


def _chain(name: str, *statements: str) -> list[str]:
    return [f"  chain {name} {{", *(f"    {statement};" for statement in statements), "  }"]


def _elements(head: str, elements: Sequence[str]) -> list[str]:
    return [f"  {head}; elements = {{ {', '.join(elements)} }}; }}" if elements else f"  {head}; }}"]


def _nft_chain(prefix: str, service: Service, endpoint: tuple[str, int] | None = None) -> str:
    tail = f"{service.name}/{service.protocol}/http"
    more = f"{endpoint[0]}:{endpoint[1]}" if endpoint else ""
    behind = f"__{endpoint[0].replace(':', '.')}/{endpoint[1]}" if endpoint else ""
    return f"{prefix}-{service.hashed(8, more)}-{tail}{behind}"


def _nft_service(service: Service, word: str, pods: str) -> Iterator[str]:
    if not service.endpoints:
        return
    chain = {endpoint: _nft_chain("endpoint", service, endpoint) for endpoint in service.endpoints}
    choice = ", ".join(f"{index} : goto {name}" for index, name in enumerate(chain.values()))
    mark = "jump mark-for-masquerade"
    dialled = f"{word} daddr {service.address} {service.protocol} dport {service.port}"
    own = _nft_chain("service", service)
    yield from _chain(own, f"{dialled} {word} saddr != {pods} {mark}", f"numgen random mod {len(chain)} vmap {{ {choice} }}")
    yield from _chain(_nft_chain("external", service), mark, f"goto {own}")
    for (address, port), name in chain.items():
        translate = f"meta l4proto {service.protocol} dnat to {join_port(address, port)}"
        yield from _chain(name, f"{word} saddr {address} {mark}", translate)


FILTER_JUMPS = (  # as inserted, so the last comes first in its built-in chain
    ("INPUT", "KUBE-EXTERNAL-SERVICES", "kubernetes externally-visible service portals", True),
    ("FORWARD", "KUBE-EXTERNAL-SERVICES", "kubernetes externally-visible service portals", True),
    ("INPUT", "KUBE-NODEPORTS", "kubernetes health check service ports", False),
    ("FORWARD", "KUBE-SERVICES", "kubernetes service portals", True),
    ("OUTPUT", "KUBE-SERVICES", "kubernetes service portals", True),
    ("FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules", False),
    ("INPUT", "KUBE-PROXY-FIREWALL", "kubernetes load balancer firewall", True),
    ("OUTPUT", "KUBE-PROXY-FIREWALL", "kubernetes load balancer firewall", True),
    ("FORWARD", "KUBE-PROXY-FIREWALL", "kubernetes load balancer firewall", True),
)
NAT_JUMPS = (
    ("OUTPUT", "KUBE-SERVICES", "kubernetes service portals", False),
    ("PREROUTING", "KUBE-SERVICES", "kubernetes service portals", False),
    ("POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules", False),
)


def _jumps(jumps: Sequence[tuple[str, str, str, bool]]) -> list[str]:
    return [
        f'-I {chain}{" -m conntrack --ctstate NEW" if new else ""} -m comment --comment "{comment}" -j {target}'
        for chain, target, comment, new in jumps
    ]


def iptables(given: Sequence[Service], family: Family = Family.IPV4) -> str:
    """Return ``iptables-restore --noflush`` text of kube-proxy's chains and jumps in mangle, filter and nat."""
    length = 32 if family is Family.IPV4 else 128
    served = [service for service in given if service.endpoints]
    chains = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-PROXY-CANARY"]
    rules = [
        f"-A KUBE-POSTROUTING -m mark ! --mark {MARK}/{MARK} -j RETURN",
        f"-A KUBE-POSTROUTING -j MARK --xor-mark {MARK}",
        '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
        f"-A KUBE-MARK-MASQ -j MARK --or-mark {MARK}",
    ]
    tail = '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; this must be the last rule in this chain"'
    for service in served:
        chains += [f"KUBE-{kind}-{service.hashed(16)}" for kind in ("SVC", "EXT")]
        chains += [_endpoint_chain(service, endpoint) for endpoint in service.endpoints]
        rules += _iptables_service(service, length, PODS[family])
    rules.append(f"{tail} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")
    filters = ["SERVICES", "EXTERNAL-SERVICES", "NODEPORTS", "FORWARD", "PROXY-FIREWALL", "PROXY-CANARY"]
    unserved = [
        f"-A KUBE-SERVICES -d {service.address}/{length} -p {service.protocol} --dport {service.port} "
        f'-m comment --comment "{service.name} has no endpoints" -j REJECT'
        for service in given
        if not service.endpoints
    ]
    forward = [
        f'-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark {MARK}/{MARK} -j ACCEPT',
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    ]
    tables: tuple[tuple[str, list[str], list[str]], ...] = (
        ("mangle", ["KUBE-PROXY-CANARY"], []),
        ("filter", [f"KUBE-{name}" for name in filters], [*_jumps(FILTER_JUMPS), *unserved, *forward]),
        ("nat", chains, [*_jumps(NAT_JUMPS), *rules]),
    )
    return "".join(
        "\n".join([f"*{table}", *(f":{chain} - [0:0]" for chain in own), *lines, "COMMIT", ""])
        for table, own, lines in tables
    )


def _endpoint_chain(service: Service, endpoint: tuple[str, int]) -> str:
    return f"KUBE-SEP-{service.hashed(16, f'{endpoint[0]}:{endpoint[1]}')}"


def _iptables_service(service: Service, length: int, pods: str) -> Iterator[str]:
    backend, outside = (f"KUBE-{kind}-{service.hashed(16)}" for kind in ("SVC", "EXT"))
    comment = f'-m comment --comment "{service.name}'
    dialled = f"-p {service.protocol} -m {service.protocol} --dport {service.port}"
    yield f'-A KUBE-SERVICES -d {service.address}/{length} {dialled} {comment} cluster IP" -j {backend}'
    for address in service.external:
        yield f'-A KUBE-SERVICES -d {address}/{length} {dialled} {comment} external IP" -j {outside}'
    if service.node_port:
        port = f"-p {service.protocol} -m {service.protocol} --dport {service.node_port}"
        yield f'-A KUBE-NODEPORTS {port} {comment}" -j {outside}'
    yield f'-A {outside} {comment} masquerade traffic" -j KUBE-MARK-MASQ'
    yield f"-A {outside} -j {backend}"
    yield f'-A {backend} ! -s {pods} -d {service.address}/{length} {dialled} {comment} cluster IP" -j KUBE-MARK-MASQ'
    for index, endpoint in enumerate(service.endpoints):
        left = len(service.endpoints) - index
        odds = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        yield f'-A {backend} {comment} -> {join_port(*endpoint)}" {odds}-j {_endpoint_chain(service, endpoint)}'
    for endpoint in service.endpoints:
        chain = _endpoint_chain(service, endpoint)
        yield f'-A {chain} -s {endpoint[0]}/{length} {comment}" -j KUBE-MARK-MASQ'
        yield f'-A {chain} -p {service.protocol} {comment}" -j DNAT --to-destination {join_port(*endpoint)}'


def ipvs(given: Sequence[Service], node: str) -> list[tuple[list[str], str]]:
    """Return the commands, each with its input, that set up kube-proxy's IPVS mode for IPv4: ClusterIPs, TCP NodePorts.

    Its device with the addresses, the ipsets its rules look into, virtual and real servers, and its rules.
    """
    device = ["link add kube-ipvs0 type dummy", *(f"addr add {service.address}/32 dev kube-ipvs0" for service in given)]
    members = [f"{service.address},{service.protocol}:{service.port}" for service in given]
    sets = [
        "create KUBE-CLUSTER-IP hash:ip,port",
        "create KUBE-LOOP-BACK hash:ip,port,ip",
        "create KUBE-IPVS-IPS hash:ip",
        "create KUBE-NODE-PORT-TCP bitmap:port range 0-65535",
        *(f"add KUBE-CLUSTER-IP {member}" for member in members),
        *(f"add KUBE-IPVS-IPS {service.address}" for service in given),
        *(f"add KUBE-NODE-PORT-TCP {service.node_port}" for service in given if service.node_port),
    ]
    servers = []
    for service in given:
        places = [(service.address, service.port), *([(node, service.node_port)] if service.node_port else [])]
        for place in places:
            server = f"-t {join_port(*place)}"
            servers.append(f"-A {server} -s rr")
            servers += [f"-a {server} -r {join_port(*endpoint)} -m -w 1" for endpoint in service.endpoints]
    return [
        (["ip", "-batch", "-"], "".join(f"{line}\n" for line in device)),
        (["ipset", "restore"], "".join(f"{line}\n" for line in sets)),
        (["ipvsadm", "-R"], "".join(f"{line}\n" for line in servers)),
        (["iptables-restore", "--noflush"], _IPVS_RULES),
    ]


_IPVS_RULES = f"""*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
-A KUBE-SERVICES ! -s {PODS[Family.IPV4]} -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
-A KUBE-POSTROUTING -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
-A KUBE-POSTROUTING -m mark ! --mark {MARK}/{MARK} -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark {MARK}
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark {MARK}
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-IPVS-FILTER - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
-A KUBE-FORWARD -m mark --mark {MARK}/{MARK} -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-IPVS-FILTER -m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT
COMMIT
"""
