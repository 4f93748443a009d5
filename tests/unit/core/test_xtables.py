# SPDX-License-Identifier: Apache-2.0
"""Tables of legacy iptables, read at the kernel's own door."""

import contextlib
import subprocess

import pytest

from kproxy.kernel.xtables_legacy import LegacyTables
from kproxy.lab.namespaces import private
from kproxy.table.terms import Family

pytestmark = pytest.mark.packets

TEXT = """*nat
:KPX-A - [0:0]
:KPX-B - [0:0]
[5:300] -A KPX-A -p tcp -j RETURN
[7:400] -A KPX-A -p udp -m comment --comment x -j KPX-B
-A PREROUTING -j KPX-A
COMMIT
"""


@pytest.mark.parametrize(("family", "tool"), [(Family.IPV4, "iptables-legacy"), (Family.IPV6, "ip6tables-legacy")])
def test_a_table_tells_what_it_holds_and_has_counted(family: Family, tool: str) -> None:
    """Chains and counters are those of the tool; another rule of the same size has another fingerprint."""
    with private(), contextlib.closing(LegacyTables(family)) as tables:
        subprocess.run([f"{tool}-restore", "--noflush", "--counters"], input=TEXT, text=True, check=True)
        before, outline = tables.entries("nat"), tables.outline("nat")
        assert before.counts == {"KPX-A": [(5, 300), (7, 400)], "KPX-B": []}
        assert tables.entries("nat") == before
        subprocess.run([tool, "-t", "nat", "-R", "KPX-A", "1", "-p", "sctp", "-j", "RETURN"], check=True)
        assert tables.outline("nat") == outline
        assert tables.entries("nat").fingerprint != before.fingerprint
        subprocess.run([tool, "-t", "nat", "-A", "KPX-B", "-j", "RETURN"], check=True)
        assert tables.outline("nat") != outline
