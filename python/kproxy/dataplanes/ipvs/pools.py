# SPDX-License-Identifier: Apache-2.0
"""From the virtual servers that routes want to operations on those the kernel holds. Pure.

Nothing is deleted here. What shall leave gets weight 0: its connections go on, new ones go elsewhere; ``drain`` takes it
away once it is idle. What was on its way out and is wanted again simply gets its weight back.
"""

import msgspec

from kproxy.dataplanes.ipvs.committed import Committed, Draining, Outcome
from kproxy.dataplanes.ipvs.frontends import Appearance, Pool
from kproxy.dataplanes.ipvs.layout import Options
from kproxy.dataplanes.ipvs.transaction import ServerChange
from kproxy.kernel.ipvs_values import Operation, RealServer, ServerKey
from kproxy.kernel.nft_elements import Codec
from kproxy.table.route import RouteKey

IMPATIENT: frozenset[str] = frozenset({"dh"})  # sends new connections to a real server of weight 0, and so refuses them


class Pools:
    """Collects which virtual servers come, stay and leave, and yields the operations."""

    def __init__(self, committed: Committed, options: Options, codec: Codec) -> None:
        self._committed = committed
        self._options = options
        self._codec = codec
        self._wanted: dict[ServerKey, tuple[Pool, RouteKey, bool]] = {}
        self._left: dict[ServerKey, RouteKey | None] = {}

    def leave(self, looked: Appearance, owner: RouteKey) -> None:
        """Note what a route had."""
        self._left.update(dict.fromkeys(looked.servers, owner))

    def want(self, looks: Appearance, owner: RouteKey, *, is_hurried: bool) -> None:
        """Note what a route shall have. ``is_hurried``: its flows move at once when an endpoint leaves."""
        for key, pool in looks.servers.items():
            self._wanted[key] = (pool, owner, is_hurried)

    def changes(self, outcome: Outcome, *, everything: bool) -> list[ServerChange]:
        """Return the operations, and write down in ``outcome`` what they come to."""
        held = self._committed.pools
        found: list[ServerChange] = []
        for key, (pool, owner, is_hurried) in self._wanted.items():
            found += self._change(key, held.get(key), pool, outcome, owner, is_hurried=is_hurried)
        left: dict[ServerKey, RouteKey | None] = {key: owner for key, owner in self._left.items() if key in held}
        if everything:
            marks = self._options.marks
            for key in held:
                if key not in left and self._committed.is_ours(key, marks, self._codec):
                    left[key] = None
        for key, known in left.items():
            if key not in self._wanted:
                pool = Pool(held[key].server, {})
                found += self._change(key, held[key], pool, outcome, known, leaves=True)
        return found

    def _change(
        self,
        key: ServerKey,
        held: Pool | None,
        wanted: Pool,
        outcome: Outcome,
        owner: RouteKey | None,
        *,
        is_hurried: bool = False,
        leaves: bool = False,
    ) -> list[ServerChange]:
        found: list[ServerChange] = []
        if held is None:
            found.append(ServerChange(Operation.add_server(wanted.server), Operation.delete_server(key), owner))
        elif held.server != wanted.server:
            found.append(ServerChange(Operation.set_server(wanted.server), Operation.set_server(held.server), owner))
        before = held.reals if held is not None else {}
        for name, real in wanted.reals.items():
            if name not in before:
                found.append(ServerChange(Operation.add_real(key, real), Operation.delete_real(key, real), owner))
            elif before[name] != real:
                found.append(ServerChange(Operation.set_real(key, real), Operation.set_real(key, before[name]), owner))
        going = {name: real for name, real in before.items() if name not in wanted.reals}
        found += [
            ServerChange(Operation.set_real(key, _idle(real)), Operation.set_real(key, real), owner)
            for real in going.values()
            if real.weight
        ]
        self._note_draining(key, frozenset(going), wanted.server.scheduler, outcome, owner, is_hurried, leaves)
        if found or held is None:
            outcome.pools[key] = Pool(wanted.server, {**wanted.reals, **{name: _idle(real) for name, real in going.items()}})
        return found

    def _note_draining(
        self,
        key: ServerKey,
        going: frozenset[str],
        scheduler: str,
        outcome: Outcome,
        owner: RouteKey | None,
        is_hurried: bool,
        leaves: bool,
    ) -> None:
        known = self._committed.draining.get(key)
        if not going and not leaves:
            if known is not None:
                outcome.draining[key] = None
            return
        hurried = dict.fromkeys(going, is_hurried or scheduler in IMPATIENT)
        if known is not None:
            hurried = {name: hurry or known.reals.get(name, False) for name, hurry in hurried.items()}
            owner = owner or known.owner
        outcome.draining[key] = Draining(hurried, leaves, owner)


def _idle(real: RealServer) -> RealServer:
    return msgspec.structs.replace(real, weight=0)
