# SPDX-License-Identifier: Apache-2.0
"""Marked packets end on this node, as the kernel itself tells."""

import contextlib
import subprocess
from collections.abc import Iterator

import pytest

from kproxy.kernel.policy_routes import PolicyRoute, PolicyRoutes
from kproxy.lab.namespaces import ip, private
from kproxy.table.terms import Family

pytestmark = pytest.mark.packets

FLAGS = {Family.IPV4: "-4", Family.IPV6: "-6"}


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(params=list(Family))
def routes(request: pytest.FixtureRequest) -> Iterator[PolicyRoutes]:
    """Return a policy route that is not there yet, on a node that is its own everything by another table."""
    with private():
        ip(["link set lo up"])
        for flag in FLAGS.values():
            run("ip", flag, "route", "add", "local", "default", "dev", "lo", "table", "77")
        with contextlib.closing(PolicyRoutes(PolicyRoute(request.param, 0x10000, 27504, 100))) as routes:
            yield routes


def test_it_comes_and_goes_as_often_as_asked(routes: PolicyRoutes) -> None:
    """Making and taking away what is there, or is not, is no error."""
    assert not routes.works()
    routes.ensure()
    routes.ensure()
    assert routes.works()
    routes.remove()
    routes.remove()
    assert not routes.works()


def test_the_route_of_somebody_else_does_not_count(routes: PolicyRoutes) -> None:
    """It is our table that must be met, and no earlier rule."""
    routes.ensure()
    assert routes.rules_changed()
    run("ip", FLAGS[routes.route.family], "rule", "add", "fwmark", "0x10000/0x10000", "lookup", "77", "pref", "50")

    assert not routes.works()
    assert routes.rules_changed()
    assert not routes.rules_changed()


def test_a_foreign_mark_is_routed_as_ever(routes: PolicyRoutes) -> None:
    """Only our bit counts, whatever else the mark holds."""
    routes.ensure()
    family = routes.route.family
    to = "192.0.2.1" if family is Family.IPV4 else "2001:db8::1"

    def local(mark: str) -> bool:
        command = ["ip", FLAGS[family], "route", "get", to, "mark", mark]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.startswith("local")

    assert local("0x14000")
    assert not local("0x4000")
