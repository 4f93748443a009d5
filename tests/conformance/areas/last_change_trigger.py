# SPDX-License-Identifier: Apache-2.0
"""Area last_change_trigger: since when endpoint changes have been waiting."""

import datetime as dt
import re
from typing import Any, Final

from kproxy.objects.events import Delete, Event, Kind, Upsert
from kproxy.routing.store import Store
from tests.conformance.build import endpointslice

T0: Final = 1_700_000_000.0  # t0; t1, t2 and t3 follow at ten seconds each
_MOMENT: Final = re.compile(r"t(\d+)(?:\s*([+-])\s*(\d+)s)?")


def run(case: dict[str, Any]) -> None:
    """Compare what the next table takes with it, by Service. One slice a Service, another endpoint at each step."""
    given, expect = case["input"], case["expect"]
    store = Store("", started=_moment(given["trackerStart"]))
    for number, (verb, service, *time) in enumerate(given["steps"]):
        store.apply(_event(verb, service, number, time[0] if time else None, given["annotation"]))
    found = {service: list(times) for service, times in store.triggers.take().items()}
    wanted = {service: [_moment(time) for time in times] for service, times in expect["triggerTimes"].items()}
    assert found == wanted, f"{found}, expected {wanted}"
    assert not store.triggers.take()


def _event(verb: str, service: str, number: int, time: str | None, annotation: str) -> Event:
    if verb == "delete":
        return Delete(Kind.ENDPOINT_SLICE, f"{service}-1")
    namespace, _, name = service.partition("/")
    meta: dict[str, Any] = {
        "namespace": namespace,
        "name": f"{name}-1",
        "labels": {"kubernetes.io/service-name": name},
    }
    if time is not None:
        meta["annotations"] = {annotation: _written(time)}
    return Upsert(
        endpointslice(
            {
                "metadata": meta,
                "addressType": "IPv4",
                "ports": [{"name": "p", "port": 80}],
                "endpoints": [{"addresses": [f"10.0.0.{number + 1}"]}],
            }
        )
    )


def _moment(text: str) -> float:
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no point in time")
    sign = -1 if match[2] == "-" else 1
    return T0 + 10 * int(match[1]) + sign * int(match[3] or 0)


def _written(text: str) -> str:
    """Write a point in time as the annotation does: RFC 3339 with nanoseconds. What is none stays as it is."""
    if not _MOMENT.fullmatch(text.strip()):
        return text
    return dt.datetime.fromtimestamp(_moment(text), dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
