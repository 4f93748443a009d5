# SPDX-License-Identifier: Apache-2.0
"""Conformance by real packets: a table goes into the kernel, packets go in, and what comes out is the verdict.

- ``wire``: first packets, answers and refusals as bytes
- ``node``: a network namespace that plays the node, its surroundings in our hands
- ``dial``: many dials at once, and what each met
- ``flows``: from a case's flows to dials, and from outcomes to faults
- ``program``: a table into the kernel through a mode's dataplanes, and out again
- ``runner``: one case after the other
"""

from tests.conformance.packets.runner import run

__all__ = ["run"]
