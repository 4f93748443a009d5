# SPDX-License-Identifier: Apache-2.0
"""The kernel's sets as dictionaries, strict as the kernel is, and a packet that walks through them.

Rules are not simulated, only what they look up: the walk is the chain of look-ups that ``docs/nftables.md`` describes.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from kproxy.dataplanes.nftables import layout
from kproxy.dataplanes.nftables.committed import Committed
from kproxy.dataplanes.nftables.elements import slot
from kproxy.dataplanes.nftables.frontends import kind_of
from kproxy.dataplanes.nftables.layout import LOCAL_SET, Scope
from kproxy.dataplanes.nftables.shapes import Balancer, Meeting
from kproxy.dataplanes.nftables.transaction import ADD, Batch, NftTransaction
from kproxy.kernel.nft_elements import Codec, number, read_number
from kproxy.table.frontend import Frontend
from kproxy.table.terms import Family

Sets: TypeAlias = dict[tuple[str, bytes, bytes | None], bytes | None]


def taken(sets: Sets, batch: Batch) -> Sets:
    """Return the sets after a batch. Asserts what the kernel would refuse: adding twice, deleting nothing, overlaps."""
    after = dict(sets)
    for run in batch.runs:
        for key, data, end in run.rows():
            if run.verb == ADD:
                assert (run.name, key, end) not in after, f"EEXIST {run.name} {key.hex()}"
                if end is not None:
                    assert not _overlaps(after, run.name, key, end), f"overlap {run.name} {key.hex()}"
                after[run.name, key, end] = data
            else:
                assert (run.name, key, end) in after, f"ENOENT {run.name} {key.hex()}"
                held = after.pop((run.name, key, end))
                assert data in {None, held}, f"{run.name} {key.hex()} holds something else"
    return after


def _overlaps(sets: Sets, name: str, first: bytes, last: bytes) -> bool:
    size = len(first)
    fixed = size - (4 if size == 16 else 16)
    return any(
        other == name and end is not None and key[:fixed] == first[:fixed] and key <= last and first <= end
        for other, key, end in sets
    )


def stages(sets: Sets, transaction: NftTransaction) -> Iterator[Sets]:
    """Yield the sets as they are before the transaction, after each batch and after what came later."""
    yield sets
    for batch in (*transaction.batches, transaction.later):
        if batch.runs:
            sets = taken(sets, batch)
            yield sets


class Walk:
    """Look-ups of one family. ``verdicts`` and ``codes`` are those of the committed state after the transaction."""

    def __init__(self, family: Family, committed: Committed) -> None:
        self.codec = Codec(family)
        self.committed = committed
        self.balancers = {code: balancer for balancer, code in committed.codes.items()}

    def misses(self, moments: Sequence[Sets], frontend: Frontend) -> list[str]:
        """Follow a packet whose look-ups fall before or after a commit in every order that time allows.

        ``moments`` are the sets before and after one commit. Returns what it does not find although it was led there.
        """
        found = []
        for early in range(len(moments)):
            kind, name = kind_of(frontend), self.codec.frontend(frontend)
            shape = moments[early].get((kind.shapes, name, None))
            if shape is None:
                continue
            met = Meeting.of_code(read_number(shape) >> 16)
            if (kind.policies, met.code << 16) not in self.committed.verdicts:
                found.append(f"no chain for {met}")
            for scope in met.scopes:
                for at, code in self._codes(moments, early, scope, frontend, read_number(shape) & 0xFFFF):
                    if code is None or (kind.balancers(scope), code) not in self.committed.verdicts:
                        found.append(f"{frontend}: no balancer {scope} {code}")
                        continue
                    found += self._slots(moments, at, scope, frontend, self.balancers.get(code) or Balancer(code))
        return found

    def _codes(
        self, moments: Sequence[Sets], early: int, scope: Scope, frontend: Frontend, code: int
    ) -> Iterator[tuple[int, int | None]]:
        if scope is Scope.ALL:
            yield early, code
            return
        kind, name = kind_of(frontend), self.codec.frontend(frontend)
        for at in range(early, len(moments)):
            data = moments[at].get((kind.locals, name, None))
            yield at, read_number(data) if data else None

    def _slots(
        self, moments: Sequence[Sets], at: int, scope: Scope, frontend: Frontend, balancer: Balancer
    ) -> Iterator[str]:
        kind, name = kind_of(frontend), self.codec.frontend(frontend)
        last = len(moments)
        for second in range(at, last):
            data = moments[second].get((kind.sets, name, None))
            if data is None:
                yield f"{frontend}: no set"
                continue
            set_id = read_number(data) | (LOCAL_SET if scope is Scope.LOCAL else 0)
            for index in range(balancer.slots):
                for third in range(second, last):
                    held = moments[third].get((layout.SLOTS, slot(set_id, index), None))
                    if held is None:
                        yield f"{frontend}: no slot {index} of {balancer}"
                        continue
                    for fourth in range(third, last):
                        if (layout.ENDPOINTS, held, None) not in moments[fourth]:
                            yield f"{frontend}: slot {index} of {balancer} leads to a dead endpoint"

    def endpoints(self, sets: Sets, frontend: Frontend, scope: Scope, balancer: Balancer) -> list[str]:
        """Return the endpoint in each slot."""
        set_id = read_number(sets[kind_of(frontend).sets, self.codec.frontend(frontend), None] or number(0))
        places = [slot(set_id | (LOCAL_SET if scope is Scope.LOCAL else 0), index) for index in range(balancer.slots)]
        ids = [sets[layout.SLOTS, place, None] for place in places]
        return [self.codec.endpoint_text(sets[layout.ENDPOINTS, each or b"", None] or b"") for each in ids]
