# SPDX-License-Identifier: Apache-2.0
"""The door to iptables and ip6tables, in both of their kinds: over nf_tables, and the legacy one.

Both may hold rules at the same time, in tables of their own; a node that was upgraded often has leftovers in the one that
nobody looks at. Reading never creates a table: ``-save`` without ``-t`` prints only those that exist.
"""

import enum
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from kproxy.kernel.command import installed, run
from kproxy.table.errors import PermissionDenied
from kproxy.table.terms import Family

WAIT_SECONDS: Final = 10  # for the lock that every user of legacy iptables takes
_TARGET: Final = re.compile(r" -(?:j|g) (\S+)")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_COMMENT: Final = re.compile(r' --comment (?:"((?:[^"\\]|\\.)*)"|(\S+))')


class Kind(enum.StrEnum):
    """Which iptables."""

    NFT = "nft"
    LEGACY = "legacy"


class Rule(msgspec.Struct, frozen=True):
    """One rule as ``-save`` prints it: its chain and everything behind (`` -d 10.0.0.1/32 -j ACCEPT``)."""

    chain: str
    text: str

    @property
    def target(self) -> str:
        """The chain or verdict it jumps or goes to; empty for a rule without one."""
        match = _TARGET.search(_QUOTED.sub('""', self.text))  # a comment may hold anything
        return match[1] if match else ""

    @property
    def comment(self) -> str:
        """Its comment, or nothing."""
        match = _COMMENT.search(self.text)
        return (match[1] if match[1] is not None else match[2]) if match else ""


class Table(msgspec.Struct, frozen=True):
    """One table: the policies of its chains (``-`` for those a user made) and its rules in order."""

    chains: Mapping[str, str]
    rules: tuple[Rule, ...]

    def built_in(self, chain: str) -> bool:
        """Tell whether the kernel made the chain."""
        return self.chains.get(chain, "-") != "-"


def parse_save(text: str) -> dict[str, Table]:
    """Read what ``iptables-save`` prints, table by table."""
    tables: dict[str, Table] = {}
    chains: dict[str, str] = {}
    rules: list[Rule] = []
    for line in text.splitlines():
        if line.startswith("*"):
            chains, rules = {}, []
            name = line[1:].strip()
        elif line.startswith(":"):
            chain, policy = line[1:].split(" ")[:2]
            chains[chain] = policy
        elif line.startswith("-A "):
            chain, _, rest = line[3:].partition(" ")
            rules.append(Rule(chain, f" {rest}"))
        elif line == "COMMIT":
            tables[name] = Table(chains, tuple(rules))
    return tables


class Xtables:
    """One kind of iptables in one family. ``wait``: seconds to wait for the lock."""

    def __init__(self, family: Family, kind: Kind, wait: int = WAIT_SECONDS) -> None:
        self.family = family
        self.kind = kind
        self.wait = wait
        self.name = f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{kind}"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def every(cls) -> Iterator["Xtables"]:
        """Yield all that are installed, both families and kinds."""
        for family in Family:
            for kind in Kind:
                xtables = cls(family, kind)
                if xtables.available():
                    yield xtables

    def available(self) -> bool:
        """Tell whether the tool is installed."""
        return installed(f"{self.name}-save")

    def save(self) -> dict[str, Table]:
        """Read every table that exists. Raises KernelError."""
        if self.kind is Kind.LEGACY and not self._legacy_tables():
            return {}
        return parse_save(run([f"{self.name}-save"]))

    def _legacy_tables(self) -> str:
        """Return the names of the legacy tables in this namespace; none as well where the kernel has no legacy iptables."""
        name = "ip_tables_names" if self.family is Family.IPV4 else "ip6_tables_names"
        try:
            return Path("/proc/thread-self/net", name).read_text(encoding="ascii")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise PermissionDenied(
                f"/proc/net/{name} cannot be read ({error.strerror}): only root sees legacy tables"
            ) from error

    def restore(self, text: str) -> None:
        """Carry out ``iptables-restore`` text, each table at once; what it does not name stays, counters too.

        Raises Busy when the lock is held for longer than we wait, or a rule went meanwhile; else KernelError.
        """
        run([f"{self.name}-restore", "--noflush", "-w", str(self.wait)], text)
