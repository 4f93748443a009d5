# SPDX-License-Identifier: Apache-2.0
"""Relays side by side: one bed, the peers, the loads, and what the operating system says they cost."""
