# SPDX-License-Identifier: Apache-2.0
"""What has caught Service proxies before: other people's edits, restarts, marks."""

import contextlib
import itertools
import json
import os
import select
import subprocess
from collections.abc import Callable, Iterator

import msgspec
import pytest

from kproxy.daemon.carry import Job, carry
from kproxy.dataplanes.contract import Applied
from kproxy.objects.events import Upsert
from kproxy.objects.meta import Meta
from kproxy.objects.servicecidr import ServiceCIDR, ServiceCIDRSpec
from kproxy.routing.diff import changes_from_nothing
from kproxy.table.terms import Family
from tests.conformance.packets.dial import Met
from tests.sequences.objects import Place, endpoints, gone, service
from tests.sequences.stage import NODE4, OUTSIDE, Stage, cluster, stage

pytestmark = pytest.mark.packets

VIP, PORT = "172.30.0.1", 31001
TOLD = [
    service("web", VIP, ports=[("TCP", 80, PORT)], type="NodePort", sessionAffinity="None"),
    endpoints("web", [Place("10.180.0.1"), Place("10.180.1.1", "other-node")]),
]
BOTH = {"10.180.0.1:8080", "10.180.1.1:8080"}


def nft(text: str) -> str:
    """Run nft as somebody else would; return what it prints."""
    return subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True, check=True).stdout


def told_of_foreign_changes(on: Stage) -> bool:
    """Ask every dataplane, as the daemon does."""
    return any([plane.foreign_changes() for plane in on.planes])  # noqa: C419 - each must be asked


def repair(on: Stage) -> None:
    """Do what the daemon does once foreign changes are told: read back, compile against everything, commit."""
    everything = changes_from_nothing(on.router.table)
    for plane in on.planes:
        assert isinstance(plane.commit(plane.compile(plane.read_back(), everything)), Applied)


def test_trap_14_nothing_of_ours_is_left_on_a_packet_that_leaves() -> None:
    """Encapsulation after us must see neither the masquerade mark nor our scratch value, and what others have set stays."""
    watch = """
    table inet watch {
        counter ours { }
        counter theirs { }
        chain tag { type filter hook prerouting priority -200; meta mark set 0x80001; }
        chain leaving { type filter hook postrouting priority 300;
            meta mark and 0x4000 != 0 counter name ours
            meta priority != 0 counter name ours
            meta mark and 0x80001 == 0x80001 counter name theirs; }
    }
    """
    with stage(*TOLD) as on:
        nft(watch)
        outcomes = on.dial(NODE4, PORT, source=OUTSIDE, times=20)
        assert {outcome.source for outcome in outcomes} == {NODE4}
        counters = json.loads(
            subprocess.run(["nft", "-j", "list", "counters"], capture_output=True, text=True, check=True).stdout
        )
        packets = {item["counter"]["name"]: item["counter"]["packets"] for item in counters["nftables"] if "counter" in item}
        assert packets["ours"] == 0
        assert packets["theirs"] >= 20


@pytest.mark.parametrize("edit", ["flush ruleset", "delete table ip kproxy", "flush table ip kproxy"])
def test_trap_15_what_others_destroy_is_noticed_and_repaired(edit: str) -> None:
    """After a foreign edit the dataplane says so once, and reading back and committing again mends it."""
    with stage(*TOLD) as on:
        assert not told_of_foreign_changes(on)
        nft(edit)
        assert told_of_foreign_changes(on)
        assert on.met(VIP) == {"NONE"}
        repair(on)
        assert not told_of_foreign_changes(on)
        assert on.met(VIP) == BOTH


def test_trap_15_iptables_flushed_beside_us_changes_nothing() -> None:
    """``iptables -F`` empties its own tables only."""
    with stage(*TOLD) as on:
        subprocess.run(["iptables", "-t", "nat", "-F"], check=True, capture_output=True)
        assert not told_of_foreign_changes(on)
        assert on.met(VIP) == BOTH


@contextlib.contextmanager
def monitored() -> Iterator[Callable[[], list[str]]]:
    """Run ``nft monitor``; the function given returns what it has printed up to now, its own markers left out.

    It writes to a pseudo-terminal, because it would keep what it prints to a pipe in a buffer.
    """
    ours, theirs = os.openpty()
    monitor = subprocess.Popen(["nft", "monitor"], stdout=theirs)
    os.close(theirs)
    marks = itertools.count(1)
    with os.fdopen(ours, encoding="ascii") as printed:

        def told() -> list[str]:
            mark = f"mark{next(marks)}"
            lines: list[str] = []
            while not lines or f"table inet {mark}" not in lines[-1]:
                nft(f"add table inet {mark}; delete table inet {mark}")  # again, for it may not be listening yet
                while select.select([printed], [], [], 0.1)[0]:
                    lines.append(printed.readline())
                    if f"delete table inet {mark}" in lines[-1]:
                        break
            return [line for line in lines if "table inet mark" not in line and not line.startswith("# new generation")]

        try:
            yield told
        finally:
            monitor.terminate()
            monitor.wait()


def test_trap_16_a_restart_writes_nothing_and_stops_nobody() -> None:
    """The kernel's own monitor prints nothing while a second process takes up what the first has left."""
    with stage(*TOLD) as on, monitored() as told:
        assert told() == []
        for _ in range(3):
            assert on.restart(*cluster(*TOLD)) == 0
            assert on.met(VIP) == BOTH
        assert told() == []
        on.tell(endpoints("web", [Place("10.180.0.1")]))
        assert told() != []  # the monitor does see us


def test_trap_16_a_restart_after_changes_it_missed_ends_at_the_new_table() -> None:
    """What changed while nobody was there is worked out from the kernel, and only that is sent."""
    with stage(*TOLD) as on:
        later = [TOLD[0], endpoints("web", [Place("10.180.1.1", "other-node"), Place("10.180.2.1", "third-node")])]
        assert on.restart(*cluster(*later)) > 0
        assert on.met(VIP) == {"10.180.1.1:8080", "10.180.2.1:8080"}


def test_trap_19_the_hosts_own_nft_reads_our_table() -> None:
    """An administrator lists the ruleset as text and as JSON, and the text loads again elsewhere."""
    with stage(*TOLD) as on:
        assert on.met(VIP) == BOTH
        text = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        json.loads(subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True).stdout)
        subprocess.run(["unshare", "--net", "nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)


def test_trap_21_others_that_reload_their_own_rules_do_not_touch_ours() -> None:
    """A firewall that deletes and writes its tables again, and one that flushes its own, leave Services alone."""
    firewall = "table inet firewall { chain forward { type filter hook forward priority 10; ct state related accept; }; }\n"
    with stage(*TOLD) as on:
        nft(firewall)
        for reload in (f"delete table inet firewall\n{firewall}", f"flush table inet firewall\n{firewall}"):
            nft(reload)
            assert not told_of_foreign_changes(on)
            assert on.met(VIP) == BOTH
            assert on.met(NODE4, PORT, source=OUTSIDE) == BOTH


def test_refusals_are_counted() -> None:
    """Every packet that meets reject or drop shows in the counters, once, and for good: also where no Service is left."""
    empty = service("empty", VIP)
    range6 = Upsert(ServiceCIDR(Meta(name="kubernetes"), ServiceCIDRSpec(("fd00:172:30::/112",))))
    with stage(empty, range6) as on:
        before = on.refused()
        assert {outcome.met for outcome in on.dial(VIP, times=10)} == {Met.REJECT}
        assert on.refused() - before == 10
        assert {outcome.met for outcome in on.dial("fd00:172:30::250", source="fd00:10::2", times=10)} == {Met.DROP}
        assert on.refused() - before == 20
        on.tell(gone(empty))
        assert on.refused() - before == 20


def test_trap_17_an_element_in_the_way_is_found_out_and_cleared_away() -> None:
    """EEXIST: the change is refused whole, nothing that worked is lost, and reading back leads to the wanted table."""
    with stage(*TOLD) as on:
        plane = on.planes[0]
        nft("add element ip kproxy service-sets { 172.30.0.2 . tcp . 80 : 0:7777 }")
        far = Place("10.180.2.1", "third-node")
        blocked, free = service("blocked", "172.30.0.2"), service("free", "172.30.0.3")
        changes = on.router.apply([blocked, free, endpoints("blocked", [far]), endpoints("free", [far])])
        assert changes is not None
        assert changes.before is not None
        keys = frozenset(change.key for change in changes.routes)
        job = Job(on.committed[Family.IPV4], changes.before, changes.after, True, keys, False)

        carried = carry(plane, job)

        assert carried.failure is not None
        assert "sequence/blocked" in carried.failure
        assert on.met(VIP) == BOTH
        assert plane.foreign_changes()

        again = carry(plane, msgspec.structs.replace(job, committed=plane.read_back(), trusted=False))

        assert (again.failure, again.refused) == (None, {})
        for address in ("172.30.0.2", "172.30.0.3"):
            assert on.met(address, choices=1) == {"10.180.2.1:8080"}
        assert on.met(VIP) == BOTH
