# SPDX-License-Identifier: Apache-2.0
"""What is answered where: the health server, the metrics server, and the local socket that ``kproxy`` commands ask."""

import asyncio
import cProfile
import io
import pstats
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from kproxy.observe import answers
from kproxy.observe.explain import Explanation, as_text
from kproxy.observe.health import Verdict
from kproxy.observe.http import JSON, Handler, Request, Response, router
from kproxy.observe.status import Status
from kproxy.observe.status import as_text as status_text
from kproxy.table.addresses import parse_address
from kproxy.table.interpret import Packet
from kproxy.table.terms import Protocol as Transport

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
CONFIG_GROUP: Final = "kubeproxy.config.k8s.io"  # the key under which kube-proxy shows its configuration
PROFILE_LIMIT: Final = 120.0


class Running(Protocol):
    """The part of the app that the pages tell about."""

    def verdict(self) -> Verdict:
        """Return how well we are."""

    def mode(self) -> str:
        """Return the mode in force."""

    def configuration(self) -> Mapping[str, Any]:
        """Return the configuration in force as plain values."""

    async def metrics(self) -> bytes:
        """Return all series."""

    def status(self) -> Status:
        """Return the running state."""

    async def explain(self, packet: Packet) -> Explanation:
        """Tell what a packet meets."""


def health_pages(app: Running, counted: Callable[[str, int], None]) -> Handler:
    """Return the pages of the health server. ``counted`` hears page and status."""

    def page(name: str, answer: Callable[[Verdict], Response]) -> Handler:
        def handler(_: Request) -> Response:
            response = answer(app.verdict())
            counted(name, response.status)
            return response

        return handler

    return router(
        {
            "/healthz": page("healthz", answers.healthz),
            "/livez": page("livez", answers.livez),
            "/readyz": page("readyz", answers.readyz),
        }
    )


def metrics_pages(app: Running, *, profiling: bool) -> Handler:
    """Return the pages of the metrics server."""

    async def metrics(_: Request) -> Response:
        return Response(await app.metrics(), content_type=METRICS_TYPE)

    def configz(_: Request) -> Response:
        return Response(msgspec.json.encode({CONFIG_GROUP: app.configuration()}, enc_hook=str), content_type=JSON)

    pages: dict[str, Handler] = {
        "/metrics": metrics,
        "/healthz": lambda _: Response(b"ok"),
        "/healthz/ping": lambda _: Response(b"ok"),
        "/proxyMode": lambda _: Response(app.mode().encode()),
        "/configz": configz,
    }
    if profiling:
        pages["/debug/profile"] = _profile
    return router(pages)


def local_pages(app: Running) -> Handler:
    """Return the pages of the local socket: ``/status`` and ``/explain``, as text or (``?output=json``) as JSON."""

    def status(request: Request) -> Response:
        return _shown(request, app.status(), status_text(app.status()))

    async def explain(request: Request) -> Response:
        try:
            packet = packet_of(request.query)
            explanation = await app.explain(packet)
        except ValueError as error:
            return Response(f"{error}\n".encode(), 400)
        return _shown(request, explanation, as_text(explanation))

    return router({"/status": status, "/explain": explain})


def packet_of(query: Mapping[str, str]) -> Packet:
    """Read a packet from a query. Raises ValueError with the mend."""
    missing = [name for name in ("source", "destination", "port") if name not in query]
    if missing:
        raise ValueError(f"the query lacks {', '.join(missing)}")
    return Packet(
        source=str(parse_address(query["source"])),
        destination=str(parse_address(query["destination"])),
        port=int(query["port"]),
        protocol=Transport(query.get("protocol", "TCP").upper()),
        interface=query.get("interface", ""),
    )


def _shown(request: Request, value: object, text: str) -> Response:
    if request.query.get("output") == "json":
        return Response(msgspec.json.encode(value, enc_hook=str), content_type=JSON)
    return Response(text.encode())


async def _profile(request: Request) -> Response:
    """Profile the event loop's thread for ``?seconds=``, and answer with where the time went."""
    try:
        seconds = min(PROFILE_LIMIT, float(request.query.get("seconds", "10")))
    except ValueError:
        return Response(b"seconds is not a number\n", 400)
    profile = cProfile.Profile()
    profile.enable()
    try:
        await asyncio.sleep(seconds)
    finally:
        profile.disable()
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(60)
    return Response(text.getvalue().encode())
