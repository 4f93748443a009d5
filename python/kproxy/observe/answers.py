# SPDX-License-Identifier: Apache-2.0
"""What a health verdict looks like on the wire: kube-proxy's status codes, keys and headers."""

import datetime as dt
from typing import Any

import msgspec

from kproxy.observe.health import Verdict
from kproxy.observe.http import JSON, Response


def rfc3339(seconds: float) -> str:
    """Write wall-clock seconds as RFC 3339 in UTC with microseconds."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")


def healthz(verdict: Verdict) -> Response:
    """Answer whether load balancers should send this node traffic: the proxy is well and the Node is to stay."""
    return _answer(verdict, fine=verdict.healthy and verdict.eligible, extra={"nodeEligible": verdict.eligible})


def livez(verdict: Verdict) -> Response:
    """Answer whether the proxy is well, whatever becomes of the Node."""
    return _answer(verdict, fine=verdict.healthy, extra={})


def readyz(verdict: Verdict) -> Response:
    """Answer whether the first table is in force in every family."""
    return _answer(verdict, fine=verdict.ready, extra={"ready": verdict.ready})


def _answer(verdict: Verdict, *, fine: bool, extra: dict[str, bool]) -> Response:
    body: dict[str, Any] = {
        # On success the time of asking: old clients take an early time for a stuck proxy.
        "lastUpdated": rfc3339(verdict.now if fine else verdict.updated),
        "currentTime": rfc3339(verdict.now),
        **extra,
        "healthy": verdict.healthy,
        "status": {
            str(family): {"lastUpdated": rfc3339(health.updated), "healthy": health.healthy}
            for family, health in verdict.families.items()
        },
    }
    if verdict.fault:
        body["fault"] = verdict.fault
    return Response(msgspec.json.encode(body), 200 if fine else 503, JSON)
