# SPDX-License-Identifier: Apache-2.0
"""What virtual servers are told when their mode leaves."""

from kproxy.dataplanes.ipvs.parting import parting
from kproxy.kernel.ipvs_values import Forwarding, Held, HeldReal, RealServer, ServerKey, VirtualServer
from kproxy.table.terms import Family, Protocol

WEB = ServerKey.at(Protocol.TCP, "10.96.0.1", 80)
DNS = ServerKey.at(Protocol.UDP, "fd00::53", 53)


def told(*held: Held) -> list[str]:
    """Return the operations in ipvsadm's words."""
    return [str(operation) for operation in parting({each.server.key: each for each in held})]


def test_new_connections_go_on_to_this_node_and_others_stay() -> None:
    """The way on is there before the first endpoint closes, so that nobody is refused meanwhile."""
    reals = (HeldReal(RealServer("10.1.0.2", 8080, 3), active=5), HeldReal(RealServer("10.1.0.3", 8080, 0), inactive=1))

    assert told(Held(VirtualServer(WEB), reals)) == [
        "-a -t 10.96.0.1:80 -r 127.0.0.1:80 -g -w 1",
        "-e -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 0",
    ]


def test_affinity_and_schedulers_that_look_beyond_weights_end_first() -> None:
    """Else a client would be led where it was before, or by its hash to an endpoint of weight 0."""
    assert told(Held(VirtualServer(DNS, "mh", persistence=60, scheduler_flags=1, one_packet=True))) == [
        "-E -u [fd00::53]:53 -s rr -o",
        "-a -u [fd00::53]:53 -r [::1]:53 -g -w 1",
    ]


def test_servers_by_mark_stay_as_they_are() -> None:
    """Nothing new is marked any more."""
    marked = VirtualServer(ServerKey.marked(Family.IPV4, 0x14001))

    assert told(Held(marked, (HeldReal(RealServer("10.1.0.2", 8080)),))) == []


def test_what_was_told_is_not_told_again() -> None:
    """Whoever waits for connections to end looks again and again."""
    held = Held(VirtualServer(WEB), (HeldReal(RealServer("10.1.0.2", 8080)),))
    operations = [operation for operation in parting({WEB: held}) if operation.real is not None]
    after = tuple(HeldReal(operation.real) for operation in operations if operation.real is not None)

    assert told(Held(VirtualServer(WEB), after)) == []


def test_a_mode_that_leaves_again_opens_the_way_that_it_had_closed() -> None:
    """Wanted back in between, it had given the way to this node weight 0; connections of the other mode keep it there."""
    here = RealServer("127.0.0.1", 80, 0, Forwarding.LOCAL)

    assert told(Held(VirtualServer(WEB), (HeldReal(here, active=1),))) == ["-e -t 10.96.0.1:80 -r 127.0.0.1:80 -g -w 1"]
