# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.conformance FILE MODE``."""

import sys

from tests.conformance.runner import main

sys.exit(main(sys.argv[1:]))
