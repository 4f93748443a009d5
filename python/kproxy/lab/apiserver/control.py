# SPDX-License-Identifier: Apache-2.0
"""The lab's own door, ``/lab/...``: what tests do in-process, for whoever is outside.

- ``GET`` and ``POST /lab/faults``: what misbehaviour is in force (``faults.Settings`` as JSON)
- ``POST /lab/compact``: forget history
- ``POST /lab/end-watches``, ``POST /lab/cut-watches``: in good order, or by breaking their connections
- ``POST /lab/raw``: store an object as it is, however malformed
"""

import msgspec
from aiohttp import web

from kproxy.lab.apiserver.faults import Settings
from kproxy.lab.apiserver.handlers import Handlers, json_answer
from kproxy.lab.apiserver.resources import by_kind


def control(handlers: Handlers) -> list[web.RouteDef]:
    """Return the routes."""

    async def show_faults(_: web.Request) -> web.Response:
        return json_answer(msgspec.json.encode(handlers.faults.settings()))

    async def set_faults(request: web.Request) -> web.Response:
        try:
            handlers.faults.apply(msgspec.json.decode(await request.read(), type=Settings))
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return _refused(400, f"these faults cannot be set: {error}")
        return await show_faults(request)

    async def act(request: web.Request) -> web.Response:
        match request.match_info["action"]:
            case "compact":
                handlers.store.compact()
            case "end-watches":
                handlers.end_watches()
            case "cut-watches":
                handlers.cut_watches()
            case "raw":
                return await store_raw(request)
            case action:
                return _refused(404, f"no such action: {action}")
        return json_answer(msgspec.json.encode({"resourceVersion": str(handlers.store.version)}))

    async def store_raw(request: web.Request) -> web.Response:
        try:
            value = msgspec.json.decode(await request.read(), type=dict)
            resource = by_kind(value.pop("apiVersion"), value.pop("kind"))
            if resource is None:
                return _refused(400, "no such kind is served here")
            stored = handlers.writer.put(resource, value, raw=True)
        except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError) as error:
            return _refused(400, f"an object needs kind, apiVersion and metadata.name: {error}")
        return json_answer(resource.head + stored.body)

    return [
        web.get("/lab/faults", show_faults),
        web.post("/lab/faults", set_faults),
        web.post("/lab/{action}", act),
    ]


def _refused(code: int, words: str) -> web.Response:
    return json_answer(msgspec.json.encode({"error": words}), code)
