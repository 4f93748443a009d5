# SPDX-License-Identifier: Apache-2.0
"""Area conntrack_sysctl: the size of the conntrack table, and what is written at the start."""

import tempfile
from pathlib import Path
from typing import Any

from kproxy.config.decode import configuration_of
from kproxy.kernel.conntrack_sysctls import conntrack_sysctls, table_size
from kproxy.kernel.sysctl import Sysctl, Sysctls
from kproxy.table.errors import KernelError

_UNLIKE_ANY = 987_654_321  # what a setting holds before, unless the case says


class _Recording(Sysctls):
    """The real reader and writer on files of our own; it remembers each write and refuses it when told to."""

    def __init__(self, root: Path, *, fails: bool) -> None:
        super().__init__(root)
        self.fails = fails
        self.writes: dict[str, int] = {}

    def write(self, wish: Sysctl) -> None:
        self.writes[wish.name.removeprefix("net.netfilter.")] = wish.value
        if self.fails:
            raise KernelError(f"{wish} is refused")
        super().write(wish)


def run(case: dict[str, Any]) -> None:
    """Compare the number of entries, or the writes and whether one failed."""
    given, expect = case["input"], case["expect"]
    if "max" in expect:
        size = table_size(given.get("maxPerCore") or 0, given.get("min") or 0, given["cpus"])
        assert size == expect["max"], f"{size}"
        return
    wishes = conntrack_sysctls(configuration_of({"conntrack": given.get("conntrack") or {}}).conntrack, given["cpus"])
    with tempfile.TemporaryDirectory() as folder:
        sysctls = _Recording(Path(folder), fails=given.get("writeFails", False))
        current = given.get("current") or {}
        for wish in wishes:
            short = wish.name.removeprefix("net.netfilter.")
            file = Path(folder, *wish.name.split("."))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(str(current.get(short, 0 if wish.raise_only else _UNLIKE_ANY)), encoding="ascii")
        outcome = sysctls.ensure(wishes)
    writes = {name: value for name, value in sysctls.writes.items() if name != "nf_conntrack_buckets"}
    if "writes" in expect:
        assert writes == expect["writes"], f"{writes}"
    if "error" in expect:
        assert bool(outcome.errors) == expect["error"], [str(error) for error in outcome.errors]
