# SPDX-License-Identifier: Apache-2.0
"""What the cluster says: only the fields we read, in the API's own names.

- ``meta``: metadata and quantities shared by all kinds
- ``service``, ``endpointslice``, ``node``, ``servicecidr``: one kind a file
- ``events``: what a source tells about them
- ``decode``: bytes to objects, one clear error for what does not fit
"""
