# SPDX-License-Identifier: Apache-2.0
"""kproxy: a Kubernetes service proxy for Linux nodes.

The tree is the way of the data: ``sources`` -> ``routing`` -> ``dataplanes`` -> the kernel. ``table`` holds the values that
travel; ``daemon`` carries them; ``observe`` tells about them.
"""

__version__ = "0.1.0"
