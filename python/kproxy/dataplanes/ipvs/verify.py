# SPDX-License-Identifier: Apache-2.0
"""Compares what the kernel holds with a table: what would have to be done is what differs.

What drains is no difference: a virtual or real server that takes no new connections and waits for its last ones.
"""

from collections.abc import Iterator

from kproxy.dataplanes.contract import Difference
from kproxy.dataplanes.ipvs.elements import schemas
from kproxy.dataplanes.ipvs.transaction import IpvsTransaction


def differences(transaction: IpvsTransaction) -> Iterator[Difference]:
    """Yield a sentence for each operation by which the kernel would come to hold the table."""
    if transaction.prepare:
        yield Difference("the table is missing, or a set of it")
    if transaction.delivery:
        yield Difference("policy routing or a sysctl is not as IPVS needs it")
    known = schemas(transaction.family)
    for phase in (transaction.ground, transaction.dispatch, transaction.later):
        for change in phase:
            name, key, end = change.element
            what = known[name].key_text(key, end)
            yield Difference(f"element {what} of {name} is {'missing' if change.adds else 'surplus'}", change.owner)
    for step in transaction.servers:
        yield Difference(f"not done: ipvsadm {step.operation}", step.owner)
    if transaction.closing:
        yield Difference("the rules are missing, or are not as they were written")
