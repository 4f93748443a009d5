# SPDX-License-Identifier: Apache-2.0
r"""An API server that behaves like a real one, for the kinds kproxy watches.

For tests in-process, for the lab and for curious hands on a command line::

    python -m kproxy.lab.apiserver --port 8001 --load examples/shop.yaml

    curl localhost:8001/api/v1/services?watch=1
    curl -X PATCH -H 'Content-Type: application/merge-patch+json' -d '{"spec":{"sessionAffinity":"ClientIP"}}' \
         localhost:8001/api/v1/namespaces/default/services/web
    curl -X PATCH -H 'Content-Type: application/json-patch+json' \
         -d '[{"op":"add","path":"/endpoints/-","value":{"addresses":["10.1.0.7"],"conditions":{"ready":true}}}]' \
         localhost:8001/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/web-abc
    curl -X POST -d '{"failures":[{"status":503,"times":3,"retryAfter":1}]}' localhost:8001/lab/faults

``kubectl --server http://localhost:8001`` works too (apply, get, patch, label, replace, delete; not ``create KIND`` without
a file, which speaks protobuf). What it does not do: authorisation, admission, watch of a single path, protobuf, owner
references and garbage collection, field ownership.

- ``server``: ``ApiServer``, the whole
- ``resources``: the kinds, as data
- ``store``: objects as bytes, versions, history
- ``target``, ``options``, ``selectors``, ``reading``: what a request asks for and brings
- ``listing``, ``watching``, ``table``: reading
- ``writing``, ``patching``, ``defaults``, ``service_updates``, ``validation``, ``allocation``: changing
- ``status``: errors as the API tells them
- ``discovery``, ``openapi``: the documents clients look up
- ``authentication``, ``manifests``, ``handlers``: credentials, files, HTTP
- ``faults``, ``control``: misbehaviour on request, and the door through which to ask for it
- ``background``: a server for blocking callers
"""

from kproxy.lab.apiserver.faults import Faults
from kproxy.lab.apiserver.server import ApiServer

__all__ = ["ApiServer", "Faults"]
