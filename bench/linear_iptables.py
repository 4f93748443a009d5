# SPDX-License-Identifier: Apache-2.0
"""A complete linear rule set in kube-proxy's documented shape, and what one change of an endpoint costs in it.

The whole set is ``tests/lookalike``'s: jumps, nat and filter, policies, hairpin, one list of Services. A change is restored
as releases from 1.27 on do it: the lists of Services and NodePorts whole, because a chain can only be given whole, and of
the Services' own chains those of the changed one.
"""

from collections.abc import Iterator, Sequence

import msgspec

from tests.lookalike import Service, iptables

_ALWAYS = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ")


def whole(services: Sequence[Service]) -> str:
    """Return the restore text of the whole set."""
    return iptables(services)


def changed(services: Sequence[Service], index: int, endpoints: tuple[tuple[str, int], ...]) -> str:
    """Return the restore text of a change: Service ``index`` gets these endpoints."""
    after = list(services)
    after[index] = msgspec.structs.replace(services[index], endpoints=endpoints)
    service = after[index]
    own = [f"KUBE-{kind}-{service.hashed(16)}" for kind in ("SVC", "EXT")]
    own += [f"KUBE-SEP-{service.hashed(16, f'{address}:{port}')}" for address, port in endpoints]
    wanted = {*own, *_ALWAYS}
    nat = iptables(after).partition("*nat\n")[2].splitlines()
    return "\n".join(["*nat", *_of(nat, wanted), "COMMIT", ""])


def _of(lines: list[str], chains: set[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith((":", "-A ")) and line.lstrip(":-A ").split(" ", 1)[0] in chains:
            yield line
