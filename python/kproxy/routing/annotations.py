# SPDX-License-Identifier: Apache-2.0
"""What kproxy's own annotations ask for. A value that cannot be used becomes a complaint, never an error."""

from kproxy.objects.endpointslice import WEIGHT_ANNOTATION
from kproxy.objects.meta import Meta
from kproxy.objects.service import PRIORITY_ANNOTATION, PROXY_PROTOCOL_ANNOTATION, SCHEDULER_ANNOTATION
from kproxy.table.terms import Method

MAXIMUM_WEIGHT = 100
MAXIMUM_PRIORITY = 1_000_000_000


def method_of(meta: Meta, complaints: list[str]) -> Method | None:
    """Read how a Service wants its endpoints chosen; None: as the mode does by default."""
    text = meta.annotation(SCHEDULER_ANNOTATION)
    if text is None:
        return None
    try:
        return Method(text.strip().lower())
    except ValueError:
        known = ", ".join(Method)
        complaints.append(f"annotation {SCHEDULER_ANNOTATION}={text!r} is ignored: it must be one of {known}")
        return None


def proxy_protocol_of(meta: Meta, complaints: list[str]) -> bool:
    """Read whether a Service's endpoints expect a PROXY protocol header; ``v2`` and ``true`` both ask for version 2."""
    text = meta.annotation(PROXY_PROTOCOL_ANNOTATION)
    if text is None or text.strip().lower() in {"", "false"}:
        return False
    if text.strip().lower() in {"v2", "true"}:
        return True
    complaints.append(f"annotation {PROXY_PROTOCOL_ANNOTATION}={text!r} is ignored: it must be v2 or false")
    return False


def priority_of(meta: Meta, complaints: list[str]) -> int | None:
    """Read how early a Service wants to be committed (higher is earlier); None: it does not say."""
    return _whole_number(meta, PRIORITY_ANNOTATION, -MAXIMUM_PRIORITY, MAXIMUM_PRIORITY, complaints)


def weight_of(meta: Meta, complaints: list[str]) -> int:
    """Read the weight of a slice's endpoints: 0..100, 1 where it does not say."""
    weight = _whole_number(meta, WEIGHT_ANNOTATION, 0, MAXIMUM_WEIGHT, complaints)
    return 1 if weight is None else weight


def _whole_number(meta: Meta, name: str, lowest: int, highest: int, complaints: list[str]) -> int | None:
    text = meta.annotation(name)
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or not lowest <= number <= highest:
        complaints.append(f"annotation {name}={text!r} is ignored: it must be a whole number from {lowest} to {highest}")
        return None
    return number
