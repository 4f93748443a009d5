# SPDX-License-Identifier: Apache-2.0
"""An API server as a source: listed once, watched ever after, over one connection that looks after its own credentials.

::

    kubeconfig, in_cluster ──▶ access ──▶ credentials, tls, proxy ──▶ transport ──▶ reflector (one a kind) ──▶ source
                                                                                       │
                                                          wire (bytes), inventory (what was told), backoff

- ``access``: the server's address and how to get in, as one value, whatever it was read from
- ``transport``: HTTP, with errors as sentences
- ``reflector``: list, watch, resume, list again: the state machine of one kind
- ``observer``: hooks for whoever counts requests and restarts
"""
