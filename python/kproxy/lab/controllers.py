# SPDX-License-Identifier: Apache-2.0
"""What a cluster's own controllers would do: Deployments to Pods to EndpointSlices, addresses for load balancers."""

import asyncio
import itertools
from typing import Any, Final

from kproxy.lab.client import Client
from kproxy.lab.pods import Pod
from kproxy.lab.topology import BALANCERS4, BALANCERS6, Node, Topology
from kproxy.table.errors import ObjectError

_SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
_SERVICES: Final = "/api/v1/namespaces/{namespace}/services"
GRACE: Final = 2.0  # seconds a leaving Pod goes on serving after its endpoint is gone


class Deployment:
    """Pods of one template, spread over the nodes."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.name: str = manifest["metadata"]["name"]
        self.namespace: str = manifest["metadata"].get("namespace", "default")
        self.replicas: int = manifest["spec"].get("replicas", 1)
        template = manifest["spec"]["template"]
        self.labels: dict[str, str] = template["metadata"]["labels"]
        self.ports = [
            (port.get("protocol", "TCP"), port["containerPort"])
            for container in template["spec"]["containers"]
            for port in container.get("ports", ())
        ]
        self.pods: list[Pod] = []
        self.leaving: list[Pod] = []
        self.numbers = itertools.count(1)


class Controllers:
    """The cluster's side of the bargain: objects follow what runs."""

    def __init__(self, topology: Topology, api: Client) -> None:
        self._topology = topology
        self._api = api
        self._nodes = itertools.cycle(topology.nodes)
        self._balancers = itertools.count(10)
        self._departures: set[asyncio.Task[None]] = set()
        self.deployments: dict[str, Deployment] = {}
        self.services: dict[str, dict[str, Any]] = {}

    async def register(self, nodes: list[Node]) -> None:
        """Tell the API server about the nodes and the ranges of ClusterIPs."""
        for node in nodes:
            await self._api.create(
                "/api/v1/nodes",
                {
                    "metadata": {"name": node.name, "labels": {"topology.kubernetes.io/zone": node.zone}},
                    "spec": {"podCIDR": node.pods[0], "podCIDRs": list(node.pods)},
                    "status": {"addresses": [{"type": "InternalIP", "address": address} for address in node.addresses]},
                },
            )

    async def apply(self, manifests: list[dict[str, Any]]) -> None:
        """Create what a manifest file holds. Services last, so that they find their Pods."""
        for manifest in sorted(manifests, key=lambda item: item["kind"] == "Service"):
            if manifest["kind"] == "Namespace":
                await self._api.create("/api/v1/namespaces", manifest)
            elif manifest["kind"] == "Deployment":
                deployment = Deployment(manifest)
                self.deployments[deployment.name] = deployment
                for _ in range(deployment.replicas):
                    self._start(deployment)
            elif manifest["kind"] == "Service":
                await self._service(manifest)
            else:
                raise ObjectError(f"the lab runs Namespaces, Deployments and Services, not {manifest['kind']}; leave it out")

    async def _service(self, manifest: dict[str, Any]) -> None:
        namespace = manifest["metadata"].get("namespace", "default")
        path = _SERVICES.format(namespace=namespace)
        made = await self._api.create(path, manifest)
        if made["spec"].get("type") == "LoadBalancer":
            number = next(self._balancers)
            prefixes = {"IPv4": BALANCERS4.rpartition(".")[0] + ".", "IPv6": BALANCERS6.partition("/")[0]}
            given = [f"{prefixes[family]}{number}" for family in made["spec"]["ipFamilies"]]
            made = await self._api.patch(
                f"{path}/{made['metadata']['name']}/status",
                {"status": {"loadBalancer": {"ingress": [{"ip": address} for address in given]}}},
            )
        self.services[made["metadata"]["name"]] = made
        await self._publish(made, create=True)
        self._steer(made)

    def _steer(self, service: dict[str, Any]) -> None:
        """Send a Local-policy load balancer's clients to a node that has an endpoint, as its health checks would."""
        pods = self.pods_of(service)
        if service["spec"].get("externalTrafficPolicy") == "Local" and pods:
            for ingress in service["status"]["loadBalancer"]["ingress"]:
                self._topology.steer(ingress["ip"], pods[0].node)

    def pods_of(self, service: dict[str, Any]) -> list[Pod]:
        """Return the Pods that a Service selects, those on their way out aside."""
        selector = service["spec"].get("selector", {})
        return [
            pod
            for deployment in self.deployments.values()
            for pod in deployment.pods
            if selector.items() <= deployment.labels.items()
        ]

    def _start(self, deployment: Deployment) -> Pod:
        pod = Pod(f"{deployment.name}-{next(deployment.numbers)}", next(self._nodes), deployment.labels)
        for protocol, port in deployment.ports:
            pod.serve(protocol, port)
        deployment.pods.append(pod)
        return pod

    async def scale(self, name: str, replicas: int) -> None:
        """Bring a Deployment to that many Pods; who leaves goes on serving for a while."""
        deployment = self.deployments[name]
        while len(deployment.pods) < replicas:
            self._start(deployment)
        gone = [deployment.pods.pop(0) for _ in range(len(deployment.pods) - replicas)]
        deployment.leaving += gone
        await self._publish_deployment(deployment)
        for pod in gone:
            self._leave(deployment, pod)

    async def roll(self, name: str) -> None:
        """Replace every Pod of a Deployment, one at a time: a new one in, then an old one out."""
        count = len(self.deployments[name].pods)
        for _ in range(count):
            await self.scale(name, count + 1)
            await self.scale(name, count)

    def _leave(self, deployment: Deployment, pod: Pod) -> None:
        async def leave() -> None:
            await asyncio.sleep(GRACE / 2)
            deployment.leaving.remove(pod)
            await self._publish_deployment(deployment)
            await asyncio.sleep(GRACE)
            await pod.close()

        task = asyncio.create_task(leave(), name=f"leave {pod.name}")
        self._departures.add(task)
        task.add_done_callback(self._departures.discard)

    async def _publish_deployment(self, deployment: Deployment) -> None:
        for service in self.services.values():
            if service["spec"].get("selector", {}).items() <= deployment.labels.items():
                await self._publish(service)

    async def _publish(self, service: dict[str, Any], *, create: bool = False) -> None:
        """Write the EndpointSlices of a Service, one a family."""
        meta = service["metadata"]
        path = _SLICES.format(namespace=meta["namespace"])
        selector = service["spec"].get("selector", {})
        chosen = [item for item in self.deployments.values() if selector.items() <= item.labels.items()]
        for which, family in enumerate(("IPv4", "IPv6")):
            if family not in service["spec"]["ipFamilies"]:
                continue
            body = {
                "metadata": {
                    "name": f"{meta['name']}-{family.lower()}",
                    "namespace": meta["namespace"],
                    "labels": {"kubernetes.io/service-name": meta["name"]},
                },
                "addressType": family,
                "ports": [
                    {"name": port.get("name", ""), "port": port["targetPort"], "protocol": port.get("protocol", "TCP")}
                    for port in service["spec"]["ports"]
                ],
                "endpoints": [
                    {
                        "addresses": [pod.addresses[which]],
                        "nodeName": pod.node.name,
                        "zone": pod.node.zone,
                        "conditions": {"ready": not leaves, "serving": True, "terminating": leaves},
                        "targetRef": {"kind": "Pod", "namespace": meta["namespace"], "name": pod.name},
                    }
                    for deployment in chosen
                    for leaves, pods in ((False, deployment.pods), (True, deployment.leaving))
                    for pod in pods
                ],
            }
            if create:
                await self._api.create(path, body)
            else:
                await self._api.replace(f"{path}/{body['metadata']['name']}", body)  # type: ignore[index]

    async def close(self) -> None:
        """Let every Pod go."""
        for task in list(self._departures):
            task.cancel()
        await asyncio.gather(*self._departures, return_exceptions=True)
        for deployment in self.deployments.values():
            for pod in (*deployment.pods, *deployment.leaving):
                await pod.close()
