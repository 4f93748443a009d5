# SPDX-License-Identifier: Apache-2.0
"""Random clusters in the form of a traffic case: few addresses, so that Services meet in every way that is allowed.

A case drawn here has flows without expectations; whoever draws it asks the model what each must meet.
"""

from typing import Any

from hypothesis import strategies as st

from kproxy.table.terms import Family

THIS, OTHER = "this-node", "other-node"
NODE = {Family.IPV4: ["192.168.0.2", "192.168.1.2"], Family.IPV6: ["2001:db8::1", "2001:db8:1::2"]}
NEAR = {Family.IPV4: "10.180.0.", Family.IPV6: "fd00:10:180::"}  # endpoints on this node
FAR = {Family.IPV4: "10.180.1.", Family.IPV6: "fd00:10:181::"}
CLUSTER_IPS = {Family.IPV4: "172.30.0.", Family.IPV6: "fd00:172:30::"}
EXTERNAL_IPS = {Family.IPV4: "192.168.99.", Family.IPV6: "2001:db8:99::"}
BALANCER_IPS = {Family.IPV4: "203.0.114.", Family.IPV6: "2001:db8:114::"}
PODS = {Family.IPV4: "10.0.0.2", Family.IPV6: "fd00:10::2"}
OUTSIDE = {Family.IPV4: ["203.0.113.2", "203.0.113.130"], Family.IPV6: ["2600:5200::1", "2600:5201::1"]}
RANGES = {
    Family.IPV4: ["203.0.113.0/25", "10.0.0.0/8", "192.168.0.2/32"],
    Family.IPV6: ["2600:5200::/64", "fd00:10::/32", "2001:db8::/64"],
}
SERVICE_CIDRS = ["172.30.0.0/16", "fd00:172:30::/112"]
CLUSTER_CIDR = "10.0.0.0/8,fd00:10::/32"

Drawn = dict[str, Any]


def _some(values: list[str], least: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), unique=True, min_size=least, max_size=2)


@st.composite
def _conditions(draw: st.DrawFn) -> Drawn:
    """Draw an endpoint's state; ready most of the time."""
    return draw(
        st.sampled_from(
            [
                {},
                {},
                {"ready": True},
                {"ready": False},
                {"ready": False, "serving": True, "terminating": True},
                {"ready": False, "serving": False, "terminating": True},
                {"ready": True, "serving": False},
            ]
        )
    )


@st.composite
def _slice(draw: st.DrawFn, name: str, ports: list[Drawn], family: Family) -> Drawn:
    """Draw the EndpointSlice of a Service in one family."""
    places: list[tuple[str, str | None]] = [
        *((f"{NEAR[family]}{last}", THIS) for last in (1, 2)),
        *((f"{FAR[family]}{last}", OTHER) for last in (1, 2)),
        (NODE[family][0], THIS),
        (f"{FAR[family]}9", None),
    ]
    endpoints: list[Drawn] = []
    for address, node in draw(st.lists(st.sampled_from(places), unique=True, max_size=4)):
        endpoint: Drawn = {"addresses": [address], "conditions": draw(_conditions())}
        if node:
            endpoint["nodeName"] = node
        if draw(st.integers(0, 3)):
            endpoint["hints"] = {"forZones": [{"name": draw(st.sampled_from(["zone-a", "zone-b"]))}]}
        endpoints.append(endpoint)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "random",
            "name": f"{name}-{family.lower()}",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": str(family),
        "endpoints": endpoints,
        "ports": [{"name": port["name"], "port": port["port"] + 8000, "protocol": port["protocol"]} for port in ports],
    }


@st.composite
def _service(draw: st.DrawFn, number: int) -> tuple[Drawn, list[Drawn]]:
    """Draw a Service and its slices."""
    name = f"svc{number}"
    families = draw(st.sampled_from([[Family.IPV4], [Family.IPV6], [Family.IPV4, Family.IPV6]]))
    kind = draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]))
    protocols = draw(_some(["TCP", "UDP", "SCTP"], 1))
    ports: list[Drawn] = [{"name": protocol.lower(), "port": 80, "protocol": protocol} for protocol in protocols]
    spec: Drawn = {
        "type": kind,
        "clusterIP": f"{CLUSTER_IPS[families[0]]}{number}",
        "clusterIPs": [f"{CLUSTER_IPS[family]}{number}" for family in families],
        "ipFamilies": [str(family) for family in families],
        "internalTrafficPolicy": draw(st.sampled_from(["Cluster", "Cluster", "Local"])),
        "externalIPs": [f"{EXTERNAL_IPS[family]}{number}" for family in families if draw(st.booleans())],
        "sessionAffinity": draw(st.sampled_from(["None", "None", "None", "ClientIP"])),
        "ports": ports,
    }
    if kind != "ClusterIP":
        spec["externalTrafficPolicy"] = draw(st.sampled_from(["Cluster", "Local"]))
        for index, port in enumerate(ports):
            port["nodePort"] = 31000 + 10 * number + index
    service: Drawn = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "random", "name": name}, "spec": spec}
    if kind == "LoadBalancer":
        modes = draw(st.sampled_from([{}, {"ipMode": "VIP"}, {"ipMode": "Proxy"}]))
        ingress = [{"ip": f"{BALANCER_IPS[family]}{number}", **modes} for family in families]
        service["status"] = {"loadBalancer": {"ingress": ingress}}
        spec["loadBalancerSourceRanges"] = draw(_some([text for family in families for text in RANGES[family]], 0))
    slices = [draw(_slice(name, ports, family)) for family in families]
    return service, slices


def _addresses(service: Drawn) -> list[str]:
    """Return every address of a Service, and one nobody has."""
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    spec = service["spec"]
    return [*spec["clusterIPs"], *spec["externalIPs"], *(item["ip"] for item in ingress), "172.30.0.250", "fd00:172:30::250"]


@st.composite
def _flow(draw: st.DrawFn, services: list[Drawn]) -> Drawn:
    """Draw a dial: of something some Service has, most of the time."""
    service = draw(st.sampled_from(services))
    port = draw(st.sampled_from(service["spec"]["ports"]))
    targets = [(address, port["port"]) for address in _addresses(service)]
    if "nodePort" in port:
        targets += [(address, port["nodePort"]) for addresses in NODE.values() for address in addresses]
    if draw(st.integers(0, 9)) == 0:
        targets = [(address, 8) for address, _ in targets]
    address, number = draw(st.sampled_from(targets))
    family = Family.IPV6 if ":" in address else Family.IPV4
    clients = [("pod-local", PODS[family]), ("pod-local", f"{NEAR[family]}1"), ("node", NODE[family][0])]
    clients += [("external", source) for source in OUTSIDE[family]]
    who, source = draw(st.sampled_from(clients))
    return {
        "name": f"{who} {source} to {address} {number} {port['protocol']}",
        "from": who,
        "src_ip": source,
        "dst_ip": address,
        "dst_port": number,
        "protocol": port["protocol"],
    }


@st.composite
def _config(draw: st.DrawFn) -> Drawn:
    """Draw settings: how Pods here are told, what is masqueraded, where NodePorts are."""
    detection = [
        {"detectLocalMode": "ClusterCIDR", "clusterCIDR": CLUSTER_CIDR},
        {"detectLocalMode": "ClusterCIDR", "clusterCIDR": "10.0.0.0/8"},
        {"detectLocalMode": "ClusterCIDR", "clusterCIDR": ""},
        {"detectLocalMode": "NodeCIDR"},
        {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cbr0"}},
        {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "veth"}},
    ]
    return {
        **draw(st.sampled_from(detection)),
        "masqueradeAll": draw(st.sampled_from([False, False, False, True])),
        "nodePortAddresses": draw(st.sampled_from([[], ["192.168.0.0/16", "2001:db8::/32"], ["192.168.1.0/24"]])),
        "serviceCIDRs": draw(st.sampled_from([[], SERVICE_CIDRS])),
    }


@st.composite
def _cluster(draw: st.DrawFn) -> Drawn:
    """Draw Services, their slices, and some dials."""
    drawn = [draw(_service(number)) for number in range(1, draw(st.integers(1, 3)) + 1)]
    services = [service for service, _ in drawn]
    return {
        "services": services,
        "endpointslices": [slice_ for _, slices in drawn for slice_ in slices],
        "flows": draw(st.lists(_flow(services), min_size=1, max_size=10, unique_by=lambda flow: flow["name"])),
    }


@st.composite
def histories(draw: st.DrawFn, longest: int = 1) -> list[Drawn]:
    """Draw a node and what its cluster looks like at one time after another, each as a case."""
    case = {
        "id": "random",
        "title": "A random cluster",
        "tags": [],
        "node": {
            "name": THIS,
            "addresses": [address for addresses in NODE.values() for address in addresses],
            "primary": {str(family): addresses[0] for family, addresses in NODE.items()},
            "labels": draw(st.sampled_from([{}, {"topology.kubernetes.io/zone": "zone-a"}])),
            "podCIDRs": ["10.180.0.0/24", "fd00:10:180::/64"],
        },
        "config": draw(_config()),
    }
    return [{**case, **cluster} for cluster in draw(st.lists(_cluster(), min_size=1, max_size=longest))]
