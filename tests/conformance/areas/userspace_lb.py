# SPDX-License-Identifier: Apache-2.0
"""Area userspace_lb: round robin and affinity of userspace mode, by the relay's own choice.

An address of 10.0.0.0/8 stands for each endpoint a case names, one of 192.0.2.0/24 for each client.
"""

from collections import defaultdict
from itertools import count
from typing import Any, Final

from kproxy._core import Balancer
from kproxy.table.route import Route
from kproxy.table.terms import Mode
from tests.conformance.build import table_of

TIMEOUT: Final = 10_800
CLIENT: Final = "192.0.2.{}"
HOST: Final = "10.0.0.1"


class _Ports:
    """The ports of one Service, each with its choice, the endpoints it may give and the letters given to them."""

    def __init__(self) -> None:
        self._sticky = False
        self._balancers: dict[str, Balancer] = {}
        self._endpoints: dict[str, list[str]] = {}
        self._letters: dict[str, dict[str, str]] = defaultdict(dict)
        self._last: dict[tuple[str, str], str] = {}
        self._strangers = count(100)

    def set(self, port: str, endpoints: list[str]) -> None:
        """Give a port its whole list."""
        self._letters[port].clear()
        self._put(port, endpoints)

    def _put(self, port: str, endpoints: list[str]) -> None:
        self._endpoints[port] = endpoints
        self._balancer(port).endpoints([(_address(endpoint), 1) for endpoint in endpoints])

    def stick(self) -> None:
        """Keep clients, on every port from now on."""
        self._sticky = True
        for balancer in self._balancers.values():
            balancer.affinity(TIMEOUT)

    def withdraw(self, letter: str) -> None:
        """Take the endpoint of a letter out."""
        for port, letters in self._letters.items():
            gone = letters.get(letter)
            self._put(port, [endpoint for endpoint in self._endpoints[port] if _address(endpoint) != gone])

    def failed(self, port: str, client: str) -> None:
        """Tell that the endpoint which a client was given takes no connection."""
        self._balancer(port).failed(self._last[port, client])

    def remove(self, port: str) -> None:
        """Delete a port."""
        self._put(port, [])

    def pick(self, port: str, client: str | None, expected: str) -> str:
        """Return what was picked, in the expectation's own words where it fits them."""
        stranger = str(next(self._strangers)) if client is None else client
        had = self._last.get((port, stranger))
        picked = self._balancer(port).pick(CLIENT.format(stranger))
        if picked is None:
            return "error"
        self._last[port, stranger] = picked
        letters = self._letters[port]
        fits = {"any": picked in map(_address, self._endpoints[port]), "same": picked == had}
        if expected in fits:
            return expected if fits[expected] else f"{picked}, before {had}"
        known = {endpoint: letter for letter, endpoint in letters.items()}
        if picked not in known and expected not in letters:
            letters[expected] = picked
            return expected
        return known.get(picked, f"{picked}, which is no {expected}")

    def _balancer(self, port: str) -> Balancer:
        if port not in self._balancers:
            self._balancers[port] = Balancer()
            if self._sticky:
                self._balancers[port].affinity(TIMEOUT)
        return self._balancers[port]


def _route(spec: dict[str, Any], slices: list[dict[str, Any]]) -> Route:
    manifest = {
        "metadata": {"namespace": "ns", "name": "web"},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}], **spec},
    }
    return next(
        table_of({"services": [manifest], "endpointslices": slices, "node": {"name": "node-1"}}, Mode.USERSPACE).routes()
    )


def _timeout(seconds: int | None) -> int:
    config = {} if seconds is None else {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}}
    return _route({"sessionAffinity": "ClientIP", **config}, []).affinity


def _kept(endpoints: list[str]) -> list[str]:
    """Return those that a route has, each told by a slice of its own. The one host of the case has an address here."""
    slices = []
    for number, endpoint in enumerate(endpoints):
        host, _, port = endpoint.rpartition(":")
        slices.append({
            "metadata": {"namespace": "ns", "name": f"web-{number}", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [HOST] if host else []}],
            "ports": [{"name": "", "port": int(port), "protocol": "TCP"}],
        })  # fmt: skip
    known = {f"{HOST}:{endpoint.rpartition(':')[2]}": endpoint for endpoint in endpoints if endpoint[0] != ":"}
    return [known[endpoint.key] for endpoint in _route({}, slices).all]


def _address(endpoint: str) -> str:
    number = endpoint.rpartition(":")[2]
    return f"10.0.0.{number}:{number}"


def run(case: dict[str, Any]) -> None:
    """Go through the steps and compare the picks; or compare which endpoints, or how long a client, is kept."""
    given, expect = case["input"], case["expect"]
    if "timeoutSeconds" in given:
        assert _timeout(given["timeoutSeconds"]) == expect["ttlSeconds"]
        return
    if "kept" in expect:
        assert _kept(given["endpoints"]) == expect["kept"]
        return
    ports, wanted, found = _Ports(), iter(expect["picks"]), []
    for step in given["steps"]:
        for port, endpoints in (step.get("endpoints") or {}).items():
            ports.set(port, endpoints)
        if step.get("affinity"):
            ports.stick()
        if "withdraw" in step:
            ports.withdraw(step["withdraw"])
        if "remove" in step:
            ports.remove(step["remove"])
        if "pick" in step:
            words = next(wanted)
            found.append([ports.pick(step["pick"], step.get("client"), word) for word in words])
            assert len(words) == step.get("times", 1), "the case expects as many picks as it makes"
        if "failed" in step:
            ports.failed(step["failed"], step["client"])
    assert found == expect["picks"], f"picked {found}"
