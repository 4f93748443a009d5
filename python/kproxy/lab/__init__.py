# SPDX-License-Identifier: Apache-2.0
"""A small cluster in network namespaces, for people and for tests.

- ``namespaces``, ``host``: namespaces that live no longer than the process that made them
- ``topology``, ``pods``, ``dial``: nodes on a bridge, Pods that answer, dials that are counted
- ``apiserver``: an API server that behaves like a real one
- ``controllers``: what a cluster's own controllers would do: Deployments to Pods to EndpointSlices, balancers' addresses
- ``processes``, ``client``: programs on a host, HTTP from a host
- ``cluster``, ``demo``, ``command``: all of it together, with a kproxy on every node
"""
