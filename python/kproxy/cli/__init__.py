# SPDX-License-Identifier: Apache-2.0
"""The command line: ``kproxy`` runs the daemon; ``kproxy VERB`` looks, plans or cleans."""
