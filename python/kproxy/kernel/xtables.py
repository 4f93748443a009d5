# SPDX-License-Identifier: Apache-2.0
"""The door to iptables and ip6tables, in both of their kinds: over nf_tables, and the legacy one.

Both may hold rules at the same time, in tables of their own; a node that was upgraded often has leftovers in the one that
nobody looks at. Reading never creates a table: ``-save`` without ``-t`` prints only those that exist.
"""

import enum
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from kproxy.kernel.command import installed, run
from kproxy.table.errors import Busy, KernelError, PermissionDenied, Unsupported
from kproxy.table.terms import Family

WAIT_SECONDS: Final = 10  # for the lock that every user of legacy iptables takes
_LINE: Final = re.compile(r"\bline:? (\d+)")
_VERSION: Final = re.compile(r"v(\d+(?:\.\d+)+)")
_TARGET: Final = re.compile(r" -(?:j|g) (\S+)")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_COMMENT: Final = re.compile(r' --comment (?:"((?:[^"\\]|\\.)*)"|(\S+))')


class Kind(enum.StrEnum):
    """Which iptables."""

    NFT = "nft"
    LEGACY = "legacy"


class XtablesRefused(KernelError):  # noqa: N818 - reads as what it says
    """``iptables-restore`` did not take the text. ``line`` is the line it complains of, counted from 1; 0: it names none."""

    def __init__(self, words: str, line: int = 0) -> None:
        super().__init__(words)
        self.line = line


class Rule(msgspec.Struct, frozen=True):
    """One rule as ``-save`` prints it: its chain and everything behind (`` -d 10.0.0.1/32 -j ACCEPT``).

    ``packets`` and ``bytes`` are what it has counted, where counters were asked for.
    """

    chain: str
    text: str
    packets: int = 0
    bytes: int = 0

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
        elif line.startswith("["):
            counts, _, text = line[1:].partition("] -A ")
            chain, _, rest = text.partition(" ")
            packets, _, octets = counts.partition(":")
            rules.append(Rule(chain, f" {rest}", int(packets), int(octets)))
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
    def every(cls, *families: Family) -> Iterator["Xtables"]:
        """Yield all that are installed, both kinds, of these families; none named: of both."""
        for family in families or Family:
            for kind in Kind:
                xtables = cls(family, kind)
                if xtables.available():
                    yield xtables

    def available(self) -> bool:
        """Tell whether the tool is installed."""
        return installed(f"{self.name}-save")

    def save(self, *, counters: bool = False) -> dict[str, Table]:
        """Read every table that exists. Raises KernelError."""
        if self.kind is Kind.LEGACY and not self.legacy_tables():
            return {}
        return parse_save(run([f"{self.name}-save", *(["-c"] if counters else [])]))

    def legacy_tables(self) -> str:
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

    def rules(self, table: str, chain: str) -> list[str]:
        """Return the rules of one chain, each as it stands behind the chain's name. Raises KernelError."""
        listing = run([self.name, "-w", str(self.wait), "-t", table, "-S", chain])
        return [line[len(f"-A {chain}") :] for line in listing.splitlines() if line.startswith(f"-A {chain} ")]

    def restore(
        self,
        text: str,
        *,
        counters: bool = False,
        test: bool = False,
        ended: Callable[[int], None] | None = None,
    ) -> None:
        """Carry out ``iptables-restore`` text, each table at once; what it does not name stays, counters too.

        With ``counters`` rules begin at the counts that stand before them; with ``test`` the text is only judged. ``ended``
        is told the process id afterwards.
        Raises Busy when the lock is held for longer than we wait, or a rule went meanwhile; else KernelError.
        """
        flags = ["--noflush", "-w", str(self.wait), *(["--counters"] if counters else []), *(["--test"] if test else [])]
        try:
            run([f"{self.name}-restore", *flags], text, ended=ended)
        except (Busy, PermissionDenied, Unsupported):
            raise
        except KernelError as error:
            match = _LINE.search(str(error))
            raise XtablesRefused(str(error), int(match[1]) if match else 0) from error

    @staticmethod
    def installed_version() -> str:
        """Return what the command ``iptables`` says it is, its kind in brackets. Raises KernelError."""
        return run(["iptables", "--version"])

    def version(self) -> str:
        """Return the tool's version, such as ``1.8.9``. Raises KernelError."""
        words = run([self.name, "--version"])
        match = _VERSION.search(words)
        if not match:
            raise Unsupported(f"{self.name} does not tell its version: {words.strip()!r}")
        return match[1]
