# SPDX-License-Identifier: Apache-2.0
"""Services come, change and go. Numbers are those of upstream's end-to-end list."""

from pathlib import Path

import msgspec
import pytest

from kproxy.objects.endpointslice import HEADLESS_LABEL, EndpointSlice
from kproxy.objects.events import Upsert
from kproxy.objects.service import PROXY_NAME_LABEL
from tests.sequences.objects import Place, endpoints, gone, leaving, service
from tests.sequences.stage import NODE4, OUTSIDE, POD, Stage, cluster, stage

pytestmark = pytest.mark.packets
ANY_MODE = pytest.mark.usefixtures("any_mode")

ONE, TWO, THREE = "172.30.0.1", "172.30.0.2", "172.30.0.3"
HERE, FAR, FURTHER = Place("10.180.0.1"), Place("10.180.1.1", "other-node"), Place("10.180.2.1", "third-node")


def keys(*places: Place) -> set[str]:
    """Return the endpoints of these places at the usual port."""
    return {f"{place.address}:8080" for place in places}


def is_up(on: Stage, address: str, *places: Place, port: int = 80) -> None:
    """Upstream's *verify up*: from a Pod and from the node every endpoint is seen, and no other."""
    for source in (POD, NODE4):
        assert on.met(address, port, source=source) == keys(*places)


def is_down(on: Stage, address: str, port: int = 80) -> None:
    """Upstream's *verify down*: nobody is reached."""
    for source in (POD, NODE4):
        assert on.met(address, port, source=source) <= {"NONE", "REJECT", "DROP"}


@ANY_MODE
def test_5_services_go_up_and_down_beside_each_other() -> None:
    """Deleting one Service and adding another leaves the third alone."""
    first, second, third = service("one", ONE), service("two", TWO), service("three", THREE)
    slices = [endpoints(name, [HERE, FAR, FURTHER]) for name in ("one", "two", "three")]
    with stage(first, second, slices[0], slices[1]) as on:
        is_up(on, ONE, HERE, FAR, FURTHER)
        is_up(on, TWO, HERE, FAR, FURTHER)

        on.tell(gone(first), gone(slices[0]))
        is_down(on, ONE)
        is_up(on, TWO, HERE, FAR, FURTHER)

        on.tell(third, slices[2])
        is_up(on, TWO, HERE, FAR, FURTHER)
        is_up(on, THREE, HERE, FAR, FURTHER)


@ANY_MODE
def test_6_a_service_comes_back_with_the_same_address() -> None:
    """A deleted Service that is made anew serves as before, whichever of its objects is told first."""
    item, slice_ = service("web", ONE), endpoints("web", [HERE, FAR])
    with stage(item, slice_) as on:
        is_up(on, ONE, HERE, FAR)
        on.tell(gone(item), gone(slice_))
        is_down(on, ONE)
        on.tell(slice_)
        is_down(on, ONE)
        on.tell(item)
        is_up(on, ONE, HERE, FAR)


@ANY_MODE
def test_15_a_deleted_node_port_is_free_again() -> None:
    """Nothing listens on or translates a released node port, and the next Service may have it."""
    ports = [("TCP", 80, 31001)]
    item, slice_ = service("web", ONE, ports=ports, type="NodePort"), endpoints("web", [HERE])
    with stage(item, slice_) as on:
        assert on.met(NODE4, 31001, source=OUTSIDE) == keys(HERE)
        on.tell(gone(item), gone(slice_))
        assert on.met(NODE4, 31001, source=OUTSIDE) == {"NONE"}
        listening = Path("/proc/thread-self/net/tcp").read_text(encoding="ascii") + Path(
            "/proc/thread-self/net/tcp6"
        ).read_text(encoding="ascii")
        assert f":{31001:04X} " not in listening

        on.tell(service("next", TWO, ports=ports, type="NodePort"), endpoints("next", [FAR]))
        assert on.met(NODE4, 31001, source=OUTSIDE) == keys(FAR)


@ANY_MODE
def test_27_the_proxy_name_label_hands_a_service_over_and_back() -> None:
    """A Service with the label belongs to another proxy; the label may come and go."""
    label = {PROXY_NAME_LABEL: "another"}
    slices = [endpoints("never", [HERE]), endpoints("web", [HERE, FAR])]
    with stage(service("never", ONE, labels=label), service("web", TWO), *slices) as on:
        is_down(on, ONE)
        is_up(on, TWO, HERE, FAR)
        on.tell(service("web", TWO, labels=label))
        is_down(on, TWO)
        on.tell(service("web", TWO))
        is_up(on, TWO, HERE, FAR)
        is_down(on, ONE)


def labelled(slice_: Upsert) -> Upsert:
    """Return a slice as the slice controller writes it for a Service with the headless label."""
    assert isinstance(slice_.object, EndpointSlice)
    meta = slice_.object.metadata
    meta = msgspec.structs.replace(meta, labels={**(meta.labels or {}), HEADLESS_LABEL: ""})
    return Upsert(msgspec.structs.replace(slice_.object, metadata=meta))


@ANY_MODE
def test_28_the_headless_label_takes_a_service_out_and_back() -> None:
    """Its slices carry the label and do not count; without them the Service has no endpoints."""
    never, web = endpoints("never", [HERE]), endpoints("web", [HERE, FAR])
    with stage(service("never", ONE), service("web", TWO), labelled(never), web) as on:
        is_down(on, ONE)
        is_up(on, TWO, HERE, FAR)
        on.tell(labelled(web))
        is_down(on, TWO)
        on.tell(web)
        is_up(on, TWO, HERE, FAR)


@ANY_MODE
def test_29_a_service_without_endpoints_refuses_at_once() -> None:
    """A client is told so rather than left waiting, from the first table on; the first endpoint ends it."""
    with stage(service("web", ONE)) as on:
        assert on.met(ONE) == {"REJECT"}
        assert on.met(ONE, source=NODE4) == {"REJECT"}
        on.tell(endpoints("web", [FAR]))
        is_up(on, ONE, FAR)
        on.tell(endpoints("web", []))
        assert on.met(ONE) == {"REJECT"}


def test_40_services_work_after_the_proxy_is_restarted() -> None:
    """Both go on while nobody is there; what changed meanwhile is made good at the start, and one that went is gone."""
    first, second, third = service("one", ONE), service("two", TWO), service("three", THREE)
    slices = [endpoints(name, [HERE, FAR]) for name in ("one", "two", "three")]
    with stage(first, second, slices[0], slices[1]) as on:
        on.close()
        is_up(on, ONE, HERE, FAR)
        on.restart(*cluster(first, second, slices[0], slices[1]))
        is_up(on, ONE, HERE, FAR)
        is_up(on, TWO, HERE, FAR)
        on.restart(*cluster(second, third, endpoints("two", [FAR, FURTHER]), slices[2]))
        is_down(on, ONE)
        is_up(on, TWO, FAR, FURTHER)
        is_up(on, THREE, HERE, FAR)


@ANY_MODE
def test_58_same_node_is_preferred_while_it_serves() -> None:
    """With hints for nodes, clients stay on their node and move to the other endpoint when theirs is gone."""
    here, there = (
        Place("10.180.0.1", "this-node", node_hints=("this-node",)),
        Place("10.180.1.1", "other-node", node_hints=("other-node",)),
    )
    with stage(service("web", ONE), endpoints("web", [here, there])) as on:
        is_up(on, ONE, here)
        on.tell(endpoints("web", [there]))
        is_up(on, ONE, there)
        on.tell(endpoints("web", [here, there]))
        is_up(on, ONE, here)
        on.tell(endpoints("web", [leaving(here), there]))
        is_up(on, ONE, there)


@ANY_MODE
def test_71_a_deleted_node_port_service_serves_no_more() -> None:
    """The ClusterIP Service over the same Pods goes on; every dial of the old node port fails."""
    node_port = service("exposed", TWO, ports=[("TCP", 80, 31001)], type="NodePort")
    with stage(service("web", ONE), node_port, endpoints("web", [HERE, FAR]), endpoints("exposed", [HERE, FAR])) as on:
        is_up(on, NODE4, HERE, FAR, port=31001)
        on.tell(gone(node_port))
        is_down(on, NODE4, port=31001)
        is_down(on, TWO)
        is_up(on, ONE, HERE, FAR)
