# SPDX-License-Identifier: Apache-2.0
"""What counts as a change, and what is complained of."""

from typing import Any

import msgspec
import pytest

from kproxy.objects.events import Broken, Delete, Event, Kind, Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.node import Node
from kproxy.routing.store import NOTHING, Store, Touched
from kproxy.table.terms import Method, Protocol
from tests.conformance.build import host, node, service
from tests.unit.routing.manifests import NODE, endpoint, eps, port, svc


def told(*events: Event) -> Store:
    """Return a store of node-1 that was told these events."""
    store = Store("node-1")
    for event in events:
        store.apply(event)
    return store


def with_meta(event: Upsert, **meta: Any) -> Upsert:
    """Return the same object with other metadata."""
    return Upsert(msgspec.structs.replace(event.object, metadata=msgspec.structs.replace(event.object.metadata, **meta)))


def test_an_object_told_again_is_no_change() -> None:
    """A resync, another resourceVersion or a label nobody reads touches nothing."""
    first, slice_ = svc("web", "10.96.0.1"), eps("web", "10.1.0.1")
    store = told(first, slice_)

    assert store.apply(first) == NOTHING
    assert store.apply(slice_) == NOTHING
    assert store.apply(with_meta(first, resource_version="9", labels={"team": "blue"})) == NOTHING
    assert store.apply(Upsert(node(NODE))).node
    assert store.apply(Upsert(node(NODE))) == NOTHING
    assert store.apply(host(NODE)).node
    assert store.apply(host(NODE)) == NOTHING


def test_another_nodes_object_does_not_count() -> None:
    """Only the node of this name is looked at."""
    assert told().apply(Upsert(Node(Meta(name="node-2")))) == NOTHING


def test_a_deleted_node_stays_in_force_until_it_is_told_anew() -> None:
    """A node that is registered anew keeps its addresses meanwhile."""
    store = told(Upsert(node(NODE)))

    assert store.apply(Delete(Kind.NODE, "node-1")) == NOTHING
    assert store.node is not None


def test_a_slice_that_changes_its_service_touches_both() -> None:
    """Both the Service it leaves and the one it joins are resolved again."""
    store = told(eps("web", "10.1.0.1"))
    moved = with_meta(eps("web", "10.1.0.1"), labels={"kubernetes.io/service-name": "api"})

    assert store.apply(moved) == Touched(("shop/web", "shop/api"))
    assert store.slices_of("shop/web") == []
    assert len(store.slices_of("shop/api")) == 1


def test_what_cannot_be_read_leaves_what_was_known() -> None:
    """A Broken object stays in force as it was."""
    store = told(svc("web", "10.96.0.1"))

    assert store.apply(Broken(Kind.SERVICE, "shop/web", "mend it")) == NOTHING
    assert "shop/web" in store.services


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (svc("web", "10.96.0.1", annotations={"kproxy.io/scheduler": "best"}), "kproxy.io/scheduler='best' is ignored"),
        (svc("web", "10.96.0.1", annotations={"kproxy.io/priority": "high"}), "kproxy.io/priority='high' is ignored"),
        (eps("web", "10.1.0.1", annotations={"kproxy.io/weight": "101"}), "kproxy.io/weight='101' is ignored"),
        (eps("web", "10.1.0.1", annotations={"kproxy.io/weight": "much"}), "kproxy.io/weight='much' is ignored"),
        (svc("web", "10.96.0.1", externalIPs=["300.1.1.1"]), "externalIPs '300.1.1.1' is left out"),
        (svc("web", "10.96.0.x"), "clusterIP '10.96.0.x' is left out"),
        (svc("web", "10.96.0.1", loadBalancerSourceRanges=["10.0.0.0"]), "loadBalancerSourceRanges '10.0.0.0'"),
        (svc("web", "10.96.0.1", ports=[port(80, "ICMP")]), "protocol 'ICMP' is none of TCP, UDP and SCTP"),
        (svc("web", "10.96.0.1", ports=[port(80, node_port=70_000)]), "port 80 is left out"),
        (svc("web", "10.96.0.1", ports=[port(80), port(80, name="q")]), "port q is left out: an earlier port is the same"),
        (eps("web", "10.1.0.999"), "endpoint '10.1.0.999' is left out"),
        (eps("web", "fd00::1"), "endpoint 'fd00::1' is left out: the slice is one of IPv4 addresses"),
        (eps("web", "10.1.0.1", ports=[{"name": "p", "port": 80, "protocol": "QUIC"}]), "80/QUIC does not exist"),
    ],
)
def test_what_is_wrong_is_complained_of_until_it_is_mended(event: Upsert, words: str) -> None:
    """Each wrong value is one sentence under the object's name, gone with the object or its mending; all else goes on."""
    store = told(svc("other", "10.96.0.2"), event)
    (name,) = store.complaints

    assert len(store.complaints[name]) == 1
    assert words in store.complaints[name][0]
    assert name[1].startswith("shop/web")
    assert "shop/other" in store.services
    mended = svc("web", "10.96.0.1") if name[0] is Kind.SERVICE else eps("web", "10.1.0.1")
    store.apply(mended)
    assert store.complaints == {}
    store.apply(event)
    store.apply(Delete(*name))
    assert store.complaints == {}


def test_a_wrong_value_takes_nothing_else_along() -> None:
    """The rest of a Service or slice with one wrong value is in force."""
    store = told(
        svc("web", "10.96.0.1", externalIPs=["bad", "203.0.113.1"], annotations={"kproxy.io/scheduler": "best"}),
        eps("web", "bad", "10.1.0.1", annotations={"kproxy.io/weight": "-1"}),
    )
    shape = store.services["shop/web"]
    (record,) = store.slices_of("shop/web")
    (part,) = record.parts.values()

    assert [one.address for one in shape.ports[0].frontends] == ["10.96.0.1", "203.0.113.1"]
    assert shape.method is None
    assert [(one.address, one.weight) for one in part.endpoints.values()] == [("10.1.0.1", 1)]


def test_annotations_are_read() -> None:
    """A known scheduler, a priority and a weight are taken; the API server and DNS go first by themselves."""
    store = told(
        svc("web", "10.96.0.1", annotations={"kproxy.io/scheduler": "mh", "kproxy.io/priority": "7"}),
        svc("dns", "10.96.0.10", ports=[port(53, "UDP", "udp"), port(53, "TCP", "tcp")]),
        Upsert(
            service(
                {
                    "metadata": {"namespace": "default", "name": "kubernetes"},
                    "spec": {"clusterIP": "10.96.0.3", "ports": [port(443)]},
                }
            )
        ),
    )

    assert store.services["shop/web"].method is Method.MH
    priorities = {name: shape.priority for name, shape in store.services.items()}
    assert priorities["default/kubernetes"] > priorities["shop/dns"] > priorities["shop/web"] == 7


@pytest.mark.parametrize(
    ("config", "seconds"),
    [(None, 10_800), ({}, 10_800), ({"clientIP": {}}, 10_800), ({"clientIP": {"timeoutSeconds": 30}}, 30)],
)
def test_affinity_has_a_time_out_whatever_the_manifest_lacks(config: Any, seconds: int) -> None:
    """ClientIP affinity without a time-out lasts three hours, as the API server would have written."""
    store = told(svc("web", "10.96.0.1", sessionAffinity="ClientIP", sessionAffinityConfig=config))

    assert store.services["shop/web"].affinity == seconds


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort", "ClusterIP"])
@pytest.mark.parametrize("policy", ["Local", "Cluster"])
def test_only_a_load_balancer_of_policy_local_has_a_health_port(kind: str, policy: str) -> None:
    """A health-check node port on any other Service is not opened."""
    store = told(svc("web", "10.96.0.1", type=kind, externalTrafficPolicy=policy, healthCheckNodePort=30_100))

    assert store.services["shop/web"].health_port == (30_100 if (kind, policy) == ("LoadBalancer", "Local") else 0)


def test_an_unchanged_endpoint_of_a_changed_slice_is_the_same_object() -> None:
    """Identity survives a slice's new version, so that nothing downstream compares it field by field."""
    store = told(eps("web", "10.1.0.1", "10.1.0.2"))
    before = store.slices_of("shop/web")[0].parts["p", Protocol.TCP].endpoints
    store.apply(eps("web", "10.1.0.1", endpoint("10.1.0.2", ready=False)))
    after = store.slices_of("shop/web")[0].parts["p", Protocol.TCP].endpoints

    assert after["10.1.0.1:8080"] is before["10.1.0.1:8080"]
    assert after["10.1.0.2:8080"] is not before["10.1.0.2:8080"]


def test_old_addresses_are_read_as_decimal_and_written_canonically() -> None:
    """Leading zeros and long IPv6 text come out in one form."""
    store = told(
        svc("web", "010.096.000.001"), eps("web", "10.01.0.001"), eps("web", "FD00:0::0001", name="6", family="IPv6")
    )
    four, six = store.slices_of("shop/web")

    assert store.services["shop/web"].ports[0].frontends[0].address == "10.96.0.1"
    assert list(four.parts["p", Protocol.TCP].endpoints) == ["10.1.0.1:8080"]
    assert list(six.parts["p", Protocol.TCP].endpoints) == ["[fd00::1]:8080"]
