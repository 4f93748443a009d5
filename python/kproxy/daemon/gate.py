# SPDX-License-Identifier: Apache-2.0
"""What must be known before the first commit.

A table resolved from half of the cluster would take away what the rules of an earlier run still do. Services and
EndpointSlices are waited for without end: nobody knows better than what is in the kernel already. What only refines the
table is waited for a while: an API server that needs this proxy to come up must not wait for it (control plane clouds set a
Node's addresses through a Service).
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec

from kproxy.config.local_detection import pod_cidrs
from kproxy.config.node_ips import node_addresses
from kproxy.objects.events import Event, Host, Kind, Synced, Upsert
from kproxy.objects.node import Node
from kproxy.table.errors import ConfigError

NODE_WAIT: Final = 30.0
POD_CIDR_WAIT: Final = 300.0
REFINING_WAIT: Final = 5.0


class Gate:
    """Opens once enough is known. ``wants_node``: wait for the Node's addresses; ``wants_pod_cidrs``: for its ranges too.

    ``fits`` judges the configuration by the Node, or by nothing where it never came; it may raise ConfigError.
    """

    def __init__(
        self,
        started: float,
        *,
        node: str,
        wants_node: bool = True,
        wants_pod_cidrs: bool = False,
        fits: Callable[[Node | None], None] = lambda _: None,
    ) -> None:
        self._node = node
        self._fits = fits
        self._seen: Node | None = None
        self._missing: dict[str, float] = {  # what, and until when it is waited for
            "Services": math.inf,
            "EndpointSlices": math.inf,
            "ServiceCIDRs": started + REFINING_WAIT,
            "this host's addresses": started + REFINING_WAIT,
        }
        if wants_node:
            self._missing["the Node's addresses"] = started + NODE_WAIT
        if wants_pod_cidrs:
            self._missing["the Node's pod CIDRs"] = started + NODE_WAIT + POD_CIDR_WAIT

    def note(self, event: Event) -> None:
        """Learn from an event."""
        match event:
            case Synced(kind=Kind.SERVICE):
                self._missing.pop("Services", None)
            case Synced(kind=Kind.ENDPOINT_SLICE):
                self._missing.pop("EndpointSlices", None)
            case Synced(kind=Kind.SERVICE_CIDR):
                self._missing.pop("ServiceCIDRs", None)
            case Host():
                self._missing.pop("this host's addresses", None)
            case Upsert(object=Node() as node) if node.metadata.name == self._node:
                self._seen = node
                if node_addresses(node):
                    self._missing.pop("the Node's addresses", None)
                if pod_cidrs(node):
                    self._missing.pop("the Node's pod CIDRs", None)

    def opens_at(self) -> float:
        """Return when it opens if nothing more is learnt: minus infinity when it is open, infinity for never."""
        return max(self._missing.values(), default=-math.inf)

    def missing(self) -> tuple[str, ...]:
        """Name what is waited for."""
        return tuple(self._missing)

    def check(self) -> None:
        """Raise ConfigError if it opened without what the configuration cannot do without."""
        if "the Node's pod CIDRs" in self._missing:
            raise ConfigError(
                f"detectLocalMode is NodeCIDR, but Node {self._node!r} has no podCIDRs: let node IPAM set them "
                "or choose another detectLocalMode"
            )
        self._fits(self._seen)


class Open(msgspec.Struct, frozen=True):
    """A gate that never held anybody up, for tests and plans."""

    def note(self, event: Event) -> None:
        """Learn nothing."""

    def opens_at(self) -> float:
        """Return minus infinity."""
        return -math.inf

    def missing(self) -> tuple[str, ...]:
        """Miss nothing."""
        return ()

    def check(self) -> None:
        """Find nothing wrong."""
