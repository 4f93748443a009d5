# SPDX-License-Identifier: Apache-2.0
"""How packets reach a relay on a real node: TPROXY with connection tracking, the same rules for every relay.

Kernel DNAT stands beside them in the same namespace. One exception: nginx cannot answer a datagram from the port that the
client asked, so its UDP comes by redirect, which translates the answer (and costs 2 to 3 % more than TPROXY).
"""

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bench.relay.bed import Bed
from bench.relay.services import SERVICES, Place, Service
from kproxy.lab.namespaces import inside
from kproxy.table.terms import Protocol

_TAKE: Final = 0x10000  # packets on their way into a relay
_TABLE: Final = 100
_RULES: Final = """\
table inet relays {{
  map frontends {{ type ipv4_addr . inet_proto . inet_service : verdict; elements = {{ {elements} }}; }}
  chain pre {{ type filter hook prerouting priority -150;
    meta l4proto tcp socket transparent 1 socket wildcard 0 meta mark set meta mark or {take} accept
    ct direction original ct mark and {take} == {take} meta mark set meta mark or {take}
    ip daddr . meta l4proto . th dport vmap @frontends
  }}
  chain nat {{ type nat hook prerouting priority -100;
{translated}
  }}
{chains}
}}
"""
_CHAIN: Final = """\
  chain to_{port} {{
    meta mark set meta mark or {take}
    meta l4proto tcp ct mark set ct mark or {take}
    meta l4proto {{ tcp, udp }} tproxy ip to :{port} accept
  }}"""


def intercept(bed: Bed, relays: Mapping[str, Sequence[Place]], translated: str) -> None:
    """Bring packets for each relay's address to its places, and have the kernel translate those for ``translated``."""
    bed.proxy.ip(
        f"rule add fwmark {_TAKE}/{_TAKE} lookup {_TABLE} pref 100", f"route add local default dev lo table {_TABLE}"
    )
    text = _text(relays, translated)
    with inside(bed.proxy.namespace):
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def _text(relays: Mapping[str, Sequence[Place]], translated: str) -> str:
    elements, redirected = [], []
    for address, places in relays.items():
        for place in places:
            protocol = place.service.protocol.lower()
            if place.transparent:
                elements.append(f"{address} . {protocol} . {place.service.port} : goto to_{place.port}")
            else:
                redirected.append(f"    ip daddr {address} {protocol} dport {place.service.port} redirect to :{place.port}")
    ports = sorted({place.port for places in relays.values() for place in places if place.transparent})
    return _RULES.format(
        take=_TAKE,
        elements=", ".join(elements),
        translated="\n".join([*redirected, *_destinations(translated, SERVICES)]),
        chains="\n".join(_CHAIN.format(port=port, take=_TAKE) for port in ports),
    )


def _destinations(address: str, services: Iterable[Service]) -> list[str]:
    """Return the rules of kernel DNAT, a random endpoint each connection."""
    rules = []
    for service in services:
        choice = ", ".join(f"{number} : {backend}" for number, backend in enumerate(service.backends))
        protocol = Protocol(service.protocol).lower()
        match = f"    ip daddr {address} {protocol} dport {service.port}"
        rules.append(f"{match} dnat ip to numgen random mod {len(service.backends)} map {{ {choice} }}")
    return rules
