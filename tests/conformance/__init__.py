# SPDX-License-Identifier: Apache-2.0
"""Cases: objects in, verdicts out. The same files hold the model and, as real packets, every mode.

- ``cases/``: the case files; their headers say what each key means
- ``build``: from a case's mappings to settings, events and a table
- ``applies``: which case runs in which mode, by rule and never by id
- ``areas/``: one adapter for each area of unit cases
- ``model``: traffic cases against the table's own interpreter
- ``packets``: traffic cases as real packets in network namespaces
- ``runner``: the whole of it, as ``python -m tests.conformance FILE MODE``
"""
