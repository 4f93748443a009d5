# SPDX-License-Identifier: Apache-2.0
"""Which addresses a Service asks for, in each family."""

import msgspec

from kproxy.objects.service import HEADLESS, Service, ServicePort, ServiceSpec
from kproxy.table.addresses import canonical_address, family_of
from kproxy.table.frontend import Frontend, Sources
from kproxy.table.terms import Family, FrontendKind, Protocol

VIP = "VIP"  # the ipMode that leaves the address to the proxy; unset means the same, anything else does not


class Addresses(msgspec.Struct, frozen=True):
    """What a Service asks for in one family: canonical addresses, without duplicates, in its own order."""

    cluster: str
    external: tuple[str, ...] = ()
    load_balancer: tuple[str, ...] = ()


def cluster_ip(spec: ServiceSpec, family: Family) -> str:
    """Return the cluster IP of one family as it is written, empty where there is none.

    It stands at the index of the family in ``ipFamilies``. Objects from before dual stack have no such list: then the
    single field counts if it is of that family.
    """
    written = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    if spec.ip_families:
        index = spec.ip_families.index(family) if family in spec.ip_families else len(written)
        return written[index] if index < len(written) else ""
    first = spec.cluster_ip or (written[0] if written else "")
    return first if first not in ("", HEADLESS) and family_of(first) is family else ""


def addresses_of(service: Service, family: Family, complaints: list[str]) -> Addresses | None:
    """Read a Service's addresses of one family. None: it does not exist in that family."""
    cluster = _canonical(cluster_ip(service.spec, family), "clusterIP", family, complaints)
    if not cluster:
        return None
    balancer = service.status.load_balancer
    ingress = (balancer.ingress or ()) if balancer else ()
    captured = [item.ip for item in ingress if item.ip and item.ip_mode in (None, "", VIP)]
    return Addresses(
        cluster=cluster,
        external=_all_canonical(service.spec.external_ips or (), "externalIPs", family, complaints),
        load_balancer=_all_canonical(captured, "load balancer ingress", family, complaints),
    )


def frontends_of(
    port: ServicePort, protocol: Protocol, addresses: Addresses, sources: Sources | None
) -> tuple[Frontend, ...]:
    """Return a port's frontends, the ClusterIP first, no two with one address.

    A load balancer's address stands before an external IP, so that one named as both keeps its allowed sources.
    """
    frontends = [Frontend(FrontendKind.CLUSTER_IP, protocol, addresses.cluster, port.port)]
    taken = {addresses.cluster}
    for kind, texts, allowed in (
        (FrontendKind.LOAD_BALANCER_IP, addresses.load_balancer, sources),
        (FrontendKind.EXTERNAL_IP, addresses.external, None),
    ):
        for address in texts:
            if address not in taken:
                taken.add(address)
                frontends.append(Frontend(kind, protocol, address, port.port, allowed))
    if port.node_port:
        frontends.append(Frontend(FrontendKind.NODE_PORT, protocol, "", port.node_port))
    return tuple(frontends)


def _all_canonical(texts: tuple[str, ...] | list[str], what: str, family: Family, complaints: list[str]) -> tuple[str, ...]:
    if not texts:
        return ()
    return tuple(dict.fromkeys(filter(None, (_canonical(text, what, family, complaints) for text in texts))))


def _canonical(text: str, what: str, family: Family, complaints: list[str]) -> str:
    """Return canonical text, or nothing where it is blank, of another family, or (with a complaint) no address at all."""
    stripped = text.strip()
    if not stripped:
        return ""
    try:
        address = canonical_address(stripped)
    except ValueError:
        complaints.append(f"{what} {text!r} is left out: it is not an IP address")
        return ""
    return address if family_of(address) is family else ""
