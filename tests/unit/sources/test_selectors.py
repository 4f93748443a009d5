# SPDX-License-Identifier: Apache-2.0
"""Selectors print in the API's syntax and match as the API does."""

import pytest

from kproxy.objects.decode import convert
from kproxy.objects.events import Kind, Object
from kproxy.sources.selectors import FieldRequirement, LabelRequirement, Operator, Selector
from kproxy.sources.watches import ENDPOINT_SLICES, SERVICES, node, watches_of


def made(kind: Kind = Kind.SERVICE, labels: dict[str, str] | None = None, **spec: str) -> Object:
    """Return an object."""
    return convert(kind, {"metadata": {"name": "web", "namespace": "shop", "labels": labels}, "spec": spec})


@pytest.mark.parametrize(
    ("requirement", "text", "one", "two", "none"),
    [
        (LabelRequirement("app", Operator.EXISTS), "app", True, True, False),
        (LabelRequirement("app", Operator.ABSENT), "!app", False, False, True),
        (LabelRequirement("app", Operator.IN, ("1", "3")), "app in (1,3)", True, False, False),
        (LabelRequirement("app", Operator.NOT_IN, ("1", "3")), "app notin (1,3)", False, True, True),
    ],
)
def test_a_label_is_compared_as_the_api_does(
    requirement: LabelRequirement, text: str, one: bool, two: bool, none: bool
) -> None:
    """An absent label satisfies ``notin``."""
    assert str(requirement) == text
    found = [requirement.matches(made(labels=labels)) for labels in ({"app": "1"}, {"app": "2"}, None)]
    assert found == [one, two, none]


def test_the_proxys_own_selectors_are_upstreams() -> None:
    """Text and meaning of what kube-proxy asks for."""
    assert SERVICES.selector.label_text == "!service.kubernetes.io/service-proxy-name"
    assert SERVICES.selector.field_text == "spec.clusterIP!=None"
    assert ENDPOINT_SLICES.selector.label_text == "!service.kubernetes.io/headless"
    assert node("n1").selector.field_text == "metadata.name=n1"
    assert SERVICES.selector.matches(made(clusterIP="10.96.0.1"))
    assert SERVICES.selector.matches(made(type="ExternalName"))
    assert not SERVICES.selector.matches(made(clusterIP="None"))
    assert not SERVICES.selector.matches(made(labels={"service.kubernetes.io/service-proxy-name": ""}))
    assert node("web").selector.matches(made(Kind.NODE))
    assert not node("other").selector.matches(made(Kind.NODE))
    assert [str(watch.kind) for watch in watches_of("n1")] == ["Service", "EndpointSlice", "Node", "ServiceCIDR"]


def test_an_unknown_field_is_refused_when_it_is_written_down() -> None:
    """Rather than to match nothing later."""
    with pytest.raises(ValueError, match=r"spec\.colour cannot be selected by"):
        FieldRequirement("spec.colour", "red")


def test_a_selector_prints_for_a_log() -> None:
    """Both halves, or everything."""
    assert str(SERVICES.selector) == "!service.kubernetes.io/service-proxy-name and spec.clusterIP!=None"
    assert str(Selector()) == "everything"
