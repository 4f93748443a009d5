# SPDX-License-Identifier: Apache-2.0
"""Label and field selectors as values: they print in the API's syntax and match objects by themselves.

The same selector goes to the server as text and is applied here to objects from files, and to those of a server that does
not know a field label.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from kproxy.objects.events import Object
from kproxy.objects.service import Service


class Operator(StrEnum):
    """How a label's value is compared."""

    EXISTS = "exists"
    ABSENT = "absent"
    IN = "in"
    NOT_IN = "notin"


class LabelRequirement(msgspec.Struct, frozen=True):
    """One condition on one label. As in the API, an absent label satisfies ``notin``."""

    label: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the API's text: ``app``, ``!app``, ``app in (a,b)``."""
        match self.operator:
            case Operator.EXISTS:
                return self.label
            case Operator.ABSENT:
                return f"!{self.label}"
            case _:
                return f"{self.label} {self.operator} ({','.join(self.values)})"

    def matches(self, item: Object) -> bool:
        """Tell whether an object satisfies it."""
        value = item.metadata.label(self.label)
        match self.operator:
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values


FIELDS: Final[dict[str, Callable[[Object], str]]] = {
    "metadata.name": lambda item: item.metadata.name,
    "metadata.namespace": lambda item: item.metadata.namespace,
    "spec.clusterIP": lambda item: (item.spec.cluster_ip or "") if isinstance(item, Service) else "",
    "spec.type": lambda item: (item.spec.type or "ClusterIP") if isinstance(item, Service) else "",
}


class FieldRequirement(msgspec.Struct, frozen=True):
    """One condition on one field, which is one of ``FIELDS``."""

    field: str
    value: str
    equal: bool = True

    def __post_init__(self) -> None:
        if self.field not in FIELDS:
            raise ValueError(f"{self.field} cannot be selected by; these can: {', '.join(FIELDS)}")

    def __str__(self) -> str:
        """Return the API's text: ``spec.clusterIP!=None``."""
        return f"{self.field}{'=' if self.equal else '!='}{self.value}"

    def matches(self, item: Object) -> bool:
        """Tell whether an object satisfies it."""
        return (FIELDS[self.field](item) == self.value) == self.equal


class Selector(msgspec.Struct, frozen=True):
    """Conditions that must all hold."""

    labels: tuple[LabelRequirement, ...] = ()
    fields: tuple[FieldRequirement, ...] = ()

    @property
    def label_text(self) -> str:
        """Return the value of the query parameter ``labelSelector``."""
        return ",".join(map(str, self.labels))

    @property
    def field_text(self) -> str:
        """Return the value of the query parameter ``fieldSelector``."""
        return ",".join(map(str, self.fields))

    def __str__(self) -> str:
        """Return both, for a log."""
        return " and ".join(filter(None, (self.label_text, self.field_text))) or "everything"

    def matches(self, item: Object) -> bool:
        """Tell whether an object satisfies all conditions."""
        return all(label.matches(item) for label in self.labels) and all(field.matches(item) for field in self.fields)
