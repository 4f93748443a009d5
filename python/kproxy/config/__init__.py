# SPDX-License-Identifier: Apache-2.0
"""``KubeProxyConfiguration`` and flags: what the operator wants.

- ``schema``: the fields of v1alpha1; ``durations``: Go's text; ``paths``: fields by name
- ``documents``, ``decode``: from the text of a file, with lines; ``write``: back to text
- ``flags``: all flags as data; ``command_line``: reading them
- ``defaults``, ``feature_gates``, ``validation``: what counts where nothing is said, and what may not be said
- ``loading``: command line and file to one ``Start``; ``live``: what of a changed file can be applied while running
- ``effective``: the values in force once the mode is known
- ``addresses``, ``node_ips``, ``node_ports``, ``local_detection``, ``family_checks``: what the settings come to on this node
"""
