# SPDX-License-Identifier: Apache-2.0
"""Metadata shared by all kinds."""

import msgspec


class Meta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The part of ObjectMeta that kproxy reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None

    @property
    def key(self) -> str:
        """Return ``namespace/name``, or the name of a cluster-wide object."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def label(self, name: str) -> str | None:
        """Return a label's value, None where it is absent."""
        return self.labels.get(name) if self.labels else None

    def annotation(self, name: str) -> str | None:
        """Return an annotation's value, None where it is absent."""
        return self.annotations.get(name) if self.annotations else None
