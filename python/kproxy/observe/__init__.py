# SPDX-License-Identifier: Apache-2.0
"""What kproxy says about itself.

- ``metrics``: every metric name, in one place; ``traffic``: the kernel's counters as series, behind a cap
- ``health``: the verdicts of /healthz, /livez and /readyz, pure; ``answers``: what they look like on the wire
- ``health_ports``: the health-check node ports of Services
- ``http``: a small HTTP/1.1 responder; ``endpoints``: what is served where
- ``events``: Kubernetes Events; ``event_sink``: their way to the API server
- ``explain``: what a packet would meet, and why; ``status``: the running state as one JSON value
"""
